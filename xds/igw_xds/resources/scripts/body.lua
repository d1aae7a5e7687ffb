-- Finds the model that a request's body asks for, and makes a streaming completion ask for its usage. The rules are
-- those of docs/body-routing.md; igw_extproc keeps the same ones. It goes on from `body_text.lua` and
-- `body_scan.lua`.

local GARBAGE = 1048576

-- A body.

-- What nearly all names are, up to the quote behind.
local USUAL_NAME = '^([%w._/:-]+)"()'

local function model(scan, at, mark)
  if mark == OPEN or mark == LIST then
    count(scan)
    error(INVALID_TYPE)
  elseif mark ~= QUOTE then
    local _, text = scalar(scan, at)
    error(text == "null" and MISSING or INVALID_TYPE)
  end
  local usual, behind = match(scan.text, USUAL_NAME, at + 1)
  if usual and #usual <= LONGEST_NAME then
    count(scan)
    scan.model = usual
    return behind - 1
  end
  local from, last = kept_string(scan, at + 1, LONGEST_SPELLING)
  if last == nil then error(unknown("")) end
  local name = spoken(sub(scan.text, from, last - 1))
  count(scan)
  scan.model = judged(name)
  return last
end

-- Where a value stands: the bytes before it and up to its end, and its text when it is short and plain.
local function placed(scan, at, mark)
  local before = scan.offset + at - 1
  local last, text = value(scan, at, mark)
  return last, {from = before, to = scan.offset + last, text = text, mark = mark}
end

local BODY = {}

function BODY.key(scan, name)
  scan.members = scan.members + 1
  if scan.members > MOST_MEMBERS then error(COMPLEX) end
  if name ~= "model" or not scan.routes then return end
  if scan.named then error(DUPLICATE) end
  scan.named = true
end

function BODY.value(scan, at, mark, name)
  if name == "model" and scan.routes then return model(scan, at, mark) end
  local last, found
  if name == "stream_options" then
    last, scan.options = placed(scan, at, mark)
  else
    last, found = value(scan, at, mark)
    if name == "stream" then scan.stream = found == "true" end
  end
  return last
end

local function document(body, routes)
  local scan = scanning(body, 0)
  scan.routes = routes
  local at, mark = next_mark(scan, 1)
  if mark ~= OPEN then error(INVALID_JSON) end
  count(scan)
  scan.inside = scan.offset + at
  at = object(scan, at + 1, BODY)
  count(scan)
  if next_byte(scan, at + 1) ~= nil then error(INVALID_JSON) end
  if routes and not scan.model then error(MISSING) end
  return scan
end

-- How a body is changed so that it asks for usage: the bytes before the change, those that it replaces, and the text.

local OPTIONS = {}

function OPTIONS.key() end

function OPTIONS.value(scan, at, mark, name)
  local last, place = placed(scan, at, mark)
  if name == "include_usage" then scan.usage = place end
  return last
end

local function change_of_options(body, place)
  local scan = scanning(body, place.from)
  local at = next_mark(scan, 1)
  if not pcall(object, scan, at + 1, OPTIONS) then return end
  local usage = scan.usage
  if not usage then
    local _, first = next_byte(scanning(body, place.from + 1), 1)
    return place.from + 1, 0, '"include_usage":true' .. (first == CLOSE and "" or ",")
  elseif usage.text ~= "true" then
    return usage.from, usage.to - usage.from, "true"
  end
end

local function change(scan)
  if not scan.stream then return end
  local place = scan.options
  if not place then return scan.inside, 0, '"stream_options":{"include_usage":true},' end
  if place.text == "null" then return place.from, 4, '{"include_usage":true}' end
  if place.mark == OPEN then return change_of_options(scan.body, place) end
end

local function asks_for_usage(handle, scan)
  local before, replaced, text = change(scan)
  if before == nil then return end
  local body, rest = scan.body, before + replaced
  local length = body:setBytes(body:getBytes(0, before) .. text .. body:getBytes(rest, scan.length - rest))
  local headers = handle:headers()
  if headers:get("content-length") ~= nil then headers:replace("content-length", tostring(length)) end
  handle:streamInfo():dynamicMetadata():set("igw.usage", "hide", true)
end

-- A request.

local function respond(handle, fault)
  local headers = {[":status"] = tostring(fault.status), ["content-type"] = "application/json"}
  if fault.status == 503 then headers["retry-after"] = "1" end
  handle:respond(headers, fault.body)
end

local function is_plain(headers)
  local encodings = headers:get("content-encoding")
  if encodings == nil then return true end
  for encoding in string.gmatch(encodings, "[^,]+") do
    local name = string.lower(match(encoding, "^%s*(.-)%s*$"))
    if name ~= "" and name ~= "identity" then return false end
  end
  return true
end

local function is_multipart(headers)
  return string.lower(sub(headers:get("content-type") or "", 1, 10)) == "multipart/"
end

local function is_completion(headers)
  if headers:get(":method") ~= "POST" then return false end
  return find(match(headers:get(":path"), "^[^?]*"), "/completions$") ~= nil
end

local function route(handle, scan)
  handle:headers():replace("x-igw-model", scan.model)
  handle:clearRouteCache()
end

-- Reads what there is to read; gives the error to answer with. Envoy's objects die where the script waits for the body.
local function read(handle, routes, completes)
  local body = handle:body()
  local length = body and body:length() or 0
  if length == 0 then return routes and MISSING end
  local good, found = pcall(document, body, routes)
  if good then
    if routes then route(handle, found) end
    if completes then asks_for_usage(handle, found) end
  end
  if length > GARBAGE then collectgarbage() end
  if not good and routes then return type(found) == "table" and found or FAILED end
end

-- What a route wants read, by what its filter context says under "read".
local WANTED = {
  model = {model = true},
  usage = {usage = true},
  ["model usage"] = {model = true, usage = true}
}

-- Leaves form data to ext_proc, which runs for the requests that are marked so.
local function leave_form(handle) handle:streamInfo():dynamicMetadata():set("igw.body", "form", true) end

function envoy_on_request(handle)
  local context, headers = handle:filterContext(), handle:headers()
  local wanted = WANTED[context:get("read")]
  if wanted == nil then return end
  local fault
  if is_multipart(headers) then
    if wanted.model and context:get("leaves_forms") then return leave_form(handle) end
    fault = is_plain(headers) and MULTIPART or ENCODED
  elseif not is_plain(headers) then
    fault = ENCODED
  elseif wanted.model or is_completion(headers) then
    fault = read(handle, wanted.model, wanted.usage and is_completion(headers))
  end
  if fault and wanted.model then respond(handle, fault) end
end
