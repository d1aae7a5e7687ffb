-- wrk's side: one kind of request, made once; the result as one line of JSON.
-- In, from the environment: BODY_FILE, BODY_HOST, and BODY_CHUNKS: what the demo's model server is to answer with.

local file = assert(io.open(os.getenv("BODY_FILE"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Host"] = os.getenv("BODY_HOST")
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-Demo-Chunks"] = os.getenv("BODY_CHUNKS")
file:close()

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "p50_us": %f, "p99_us": %f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    e.status + e.connect + e.read + e.write + e.timeout))
end
