-- An answer on its way through a script, as Envoy's Lua filter has it: the script runs up to a chunk, gets it, and may
-- change it until it waits for the next; nothing that it got from a handle outlives that. `ending` is "data" (the last
-- chunk ends the answer), "trailers" or "cut".

local function living(object, alive)
  return setmetatable({}, {__index = function(_, name)
    assert(alive(), "used outside of its proper scope")
    return object[name]
  end})
end

local function merged(metadata)
  return {
    get = function(_, namespace) return metadata[namespace] end,
    set = function(_, namespace, name, value)
      metadata[namespace] = metadata[namespace] or {}
      metadata[namespace][name] = value
    end,
  }
end

local function named(headers)
  return {
    get = function(_, name) return headers[name] end,
    remove = function(_, name) headers[name] = nil end,
  }
end

local function copied(values)
  local copy = {}
  for name, value in pairs(values or {}) do copy[name] = value end
  return copy
end

function play(headers, metadata, chunks, ending)
  local turn, ended, trailers = 0, false, nil
  local function lasting(object)
    local mine = turn
    return living(object, function() return mine == turn end)
  end
  local handle = {
    headers = function() return lasting(named(headers)) end,
    streamInfo = function() return lasting({dynamicMetadata = function() return lasting(merged(metadata)) end}) end,
    bodyChunks = function() return function()
      if ended then return nil end
      return coroutine.yield()
    end end,
    trailers = function()
      assert(ended, "it would wait for trailers")
      return trailers
    end,
  }

  local script = coroutine.create(envoy_on_response)
  local function resume(...)
    local fine, problem = coroutine.resume(script, ...)
    if not fine then error(problem) end
    turn = turn + 1
  end
  local outs, seen = {}, {}
  resume(handle)
  for number, bytes in ipairs(chunks) do
    ended = number == #chunks and ending == "data"
    local buffer = {bytes = bytes}
    if coroutine.status(script) ~= "dead" then
      resume(lasting({
        length = function() return #buffer.bytes end,
        getBytes = function(_, from, length)
          assert(from + length <= #buffer.bytes)
          return string.sub(buffer.bytes, from + 1, from + length)
        end,
        setBytes = function(_, given) buffer.bytes = given; return #given end,
      }))
    end
    outs[number], seen[number] = buffer.bytes, copied(metadata["igw.usage"])
  end
  if ending == "trailers" then
    ended, trailers = true, {}
    resume()
  end
  return outs, seen, copied(metadata["igw.usage"]), headers
end
