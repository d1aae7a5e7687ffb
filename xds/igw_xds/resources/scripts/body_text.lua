-- What the gateway answers itself, and what JSON's strings say. The first part of the script that `body.lua` ends.

local byte, char, find, format = string.byte, string.char, string.find, string.format
local floor, match, sub = math.floor, string.match, string.sub

local LONGEST_NAME = 256
local ECHOED = 64

-- Errors: OpenAI's objects, spelled as igw_model.openai.ApiError spells them.

local function refusal(status, code, message, param)
  local kind = status >= 500 and "server_error" or "invalid_request_error"
  local text = '{"error": {"message": "%s", "type": "%s", "param": %s, "code": "%s"}}'
  return {status = status, body = format(text, message, kind, param or "null", code)}
end

local MISSING = refusal(400, "missing_model", "you must provide a model parameter", '"model"')
local INVALID_JSON = refusal(400, "invalid_json", "the request body is not a JSON object")
local INVALID_TYPE = refusal(400, "invalid_type", "the model parameter must be a string", '"model"')
local DUPLICATE = refusal(400, "duplicate_model", "the model parameter is given more than once", '"model"')
local COMPLEX = refusal(400, "body_too_complex", "the request body has too many strings, objects and arrays")
local ENCODED =
  refusal(415, "unsupported_encoding", "the request body must not be compressed (Content-Encoding)")
local MULTIPART = refusal(415, "unsupported_content_type", "this gateway reads no multipart bodies: send JSON")
local FAILED = refusal(503, "routing_unavailable",
  "The model could not be read from your request now. Try again soon.")

-- What a JSON string says.

local PLAIN = {
  ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t"
}

-- UTF-8 (RFC 3629, section 4): what may follow, by a character's first byte.
local FOLLOWS = {
  {0, 127, "^[%z\1-\127]+()"},
  {194, 223, "^.[\128-\191]()"},
  {224, 224, "^.[\160-\191][\128-\191]()"},
  {225, 236, "^.[\128-\191][\128-\191]()"},
  {237, 237, "^.[\128-\159][\128-\191]()"},
  {238, 239, "^.[\128-\191][\128-\191]()"},
  {240, 240, "^.[\144-\191][\128-\191][\128-\191]()"},
  {241, 243, "^.[\128-\191][\128-\191][\128-\191]()"},
  {244, 244, "^.[\128-\143][\128-\191][\128-\191]()"}
}
local BY_FIRST = {}
for _, range in ipairs(FOLLOWS) do
  for first = range[1], range[2] do BY_FIRST[first] = range[3] end
end
local CHARACTER = "[%z\1-\127\194-\244][\128-\191]*"

local function is_utf8(text)
  local at = 1
  while at ~= nil and at <= #text do
    local pattern = BY_FIRST[byte(text, at)]
    at = pattern and match(text, pattern, at)
  end
  return at ~= nil
end

local function utf8(code)
  if code < 0x80 then return char(code) end
  local tail, rest = char(0x80 + code % 0x40), floor(code / 0x40)
  if rest < 0x20 then return char(0xC0 + rest) .. tail end
  tail, rest = char(0x80 + rest % 0x40) .. tail, floor(rest / 0x40)
  if rest < 0x10 then return char(0xE0 + rest) .. tail end
  return char(0xF0 + floor(rest / 0x40), 0x80 + rest % 0x40) .. tail
end

-- The character that the escape at `at` stands for, and the index behind it.
local function escaped(text, at)
  local plain = PLAIN[sub(text, at + 1, at + 1)]
  if plain ~= nil then return plain, at + 2 end
  local code = tonumber(match(text, "^\\u(%x%x%x%x)", at) or error(INVALID_JSON), 16)
  if code < 0xD800 or code > 0xDFFF then return utf8(code), at + 6 end
  local low = tonumber(match(text, "^\\u([dD][c-fC-F]%x%x)", at + 6) or error(INVALID_JSON), 16)
  if code > 0xDBFF then error(INVALID_JSON) end
  return utf8(0x10000 + (code - 0xD800) * 0x400 + low - 0xDC00), at + 12
end

local function without_escapes(text)
  local parts, from, at = {}, 1, find(text, "\\", 1, true)
  while at ~= nil do
    local character, behind = escaped(text, at)
    table.insert(parts, sub(text, from, at - 1) .. character)
    from, at = behind, find(text, "\\", behind, true)
  end
  return table.concat(parts) .. sub(text, from)
end

-- What is spelled between two quotes.
local function spoken(spelling)
  if not find(spelling, "[^ !#-%[%]-~]") then return spelling end
  if find(spelling, "[%z\1-\31]") then error(INVALID_JSON) end
  local text = without_escapes(spelling)
  if not is_utf8(text) then error(INVALID_JSON) end
  return text
end

-- What an error may echo of a client's text, as Python's `unicode_escape` puts it.

local ECHO = {["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t"}

local function code_point(character)
  local first, code = byte(character), 0
  if #character == 1 then return first end
  code = first % 2 ^ (7 - #character)
  for index = 2, #character do code = code * 0x40 + byte(character, index) % 0x40 end
  return code
end

local function echo(character)
  if ECHO[character] ~= nil then return ECHO[character] end
  if find(character, "^[ -~]$") then return character end
  local code = code_point(character)
  return format(code < 0x100 and "\\x%02x" or code < 0x10000 and "\\u%04x" or "\\U%08x", code)
end

local function unknown(name)
  local shown, dots = {}, ""
  for character in string.gmatch(name, CHARACTER) do
    if #shown == ECHOED then dots = "..." break end
    table.insert(shown, echo(character))
  end
  local text = string.gsub(table.concat(shown), '[\\"]', "\\%0")
  return refusal(404, "model_not_found", format("The model `%s%s` does not exist", text, dots), '"model"')
end

local function judged(name)
  if name == "" then error(MISSING) end
  local bad = #name > LONGEST_NAME or find(name, "[%z\1-\31\127]") or find(name, "\194[\128-\159]")
  if bad or byte(name) == 32 or byte(name, -1) == 32 then error(unknown(name)) end
  return name
end
