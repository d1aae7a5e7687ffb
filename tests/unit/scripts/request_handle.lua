-- What Envoy gives a script of a request, as far as body.lua asks for it; `run` plays one request and says what came of it.

local DEAD = {__index = function() error("object used outside of proper scope") end}

local function headers_of(values)
  local headers = {}
  function headers:get(name) return values[name] end
  function headers:remove(name) values[name] = nil end
  function headers:replace(name, value) values[name] = value end
  return headers
end

local function die(object)
  for name in pairs(object) do object[name] = nil end
  setmetatable(object, DEAD)
end

local function body_of(outcome)
  local body = {}
  function body:length() return #outcome.body end
  function body:getBytes(at, length)
    assert(at >= 0 and length >= 0 and at + length <= #outcome.body, "index/length must be >= 0 and within the buffer")
    return string.sub(outcome.body, at + 1, at + length)
  end
  function body:setBytes(text)
    outcome.body = text
    return #text
  end
  return body
end

local function metadata_of(outcome)
  local metadata = {}
  function metadata:set(filter, key, value) outcome[filter .. ":" .. key] = value end
  return {dynamicMetadata = function() return metadata end}
end

function run(context, values, text)
  local outcome = {headers = values, body = text, cleared = false}
  local handle, living = {}, {}
  local function alive(object)
    table.insert(living, object)
    return object
  end
  function handle:filterContext()
    return alive({get = function(_, name) return context[name] end})
  end
  function handle:headers() return alive(headers_of(values)) end
  function handle:body()
    for _, object in ipairs(living) do die(object) end
    return text ~= nil and body_of(outcome) or nil
  end
  function handle:clearRouteCache() outcome.cleared = true end
  function handle:streamInfo() return metadata_of(outcome) end
  function handle:respond(reply, body)
    outcome.status, outcome.type, outcome.reply = reply[":status"], reply["content-type"], body
    coroutine.yield()
  end
  local play = coroutine.create(envoy_on_request)
  assert(coroutine.resume(play, handle))
  return outcome
end
