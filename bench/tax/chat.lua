-- wrk's side: one kind of request, made once; the result as one line of JSON.
-- In, from the environment: TAX_HOST, TAX_TOKEN, TAX_MODEL, TAX_BODY.

wrk.method = "POST"
wrk.body = os.getenv("TAX_BODY")
wrk.headers["Host"] = os.getenv("TAX_HOST")
wrk.headers["Authorization"] = "Bearer " .. os.getenv("TAX_TOKEN")
wrk.headers["X-Model-Name"] = os.getenv("TAX_MODEL")
wrk.headers["Content-Type"] = "application/json"

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "status_errors": %d, "socket_errors": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.status, e.connect + e.read + e.write + e.timeout))
end
