function envoy_on_request(handle)
  local headers = handle:headers()
  headers:replace(":authority", string.lower(headers:get(":authority")))
  handle:clearRouteCache()
end
