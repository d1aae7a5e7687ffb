-- wrk's side: one kind of request; the result as one line of JSON. In, from the environment: TLS_HOST, TLS_TOKEN, and
-- TLS_CLOSE: "yes" for a new connection each time.

wrk.headers["Host"] = os.getenv("TLS_HOST")
wrk.headers["Authorization"] = "Bearer " .. os.getenv("TLS_TOKEN")
if os.getenv("TLS_CLOSE") == "yes" then wrk.headers["Connection"] = "close" end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "p50_us": %f, "failed": %d}\n', summary.requests, summary.duration / 1e6,
    latency:percentile(50), e.status + e.connect + e.read + e.write + e.timeout))
end
