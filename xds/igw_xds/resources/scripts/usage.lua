-- Reads what an answer used, as it passes, into Envoy's dynamic metadata under "igw.usage": prompt_tokens,
-- completion_tokens, cached_tokens, total_tokens, streamed (an event stream), events (those with content) and whole
-- (it came to its end). Each is there as soon as it is known: an answer that is cut leaves what was seen of it.
--
-- It reads text: a quote inside of JSON's strings is escaped, so no text that a model says passes for a key.
--   used:    the last object under "usage" that has a count, of at most 4 KiB with the key; a count that it lacks is 0.
--   content: an event whose "delta" is a string that is not empty (Responses); or has, behind "delta" or else behind
--            "choices", a text under one of SAID that is not empty (chat, completions). Its first 64 KiB count.
--   extra:   an event of at most 64 KiB with "choices":[] and an object under "usage". Where igw.body asked for it
--            and not the client (key `hide`), it is taken out. For that, an event goes on when it is whole, or longer.
-- An event is what comes up to an empty line, its lines ended by LF, CR LF or CR; its data is one line with an object.
-- Without `hide` nothing is held back.

local byte, find, match, sub = string.byte, string.find, string.match, string.sub

local NAMESPACE = "igw.usage"
local USAGE, LONGEST_USAGE, LONGEST_EVENT = 'usage"', 4096, 65536
local SAID = {'"content"', '"reasoning_content"', '"reasoning"', '"arguments"', '"refusal"', '"text"'}
local USUAL = 'delta":{"content":"'
local LF, CR, SPACE, QUOTE, COLON, N, BRACE = 10, 13, 32, 34, 58, 110, 123

-- What was used.

-- The first number under a key, which comes with its quotes. A plain text is found fast, and an expression is not.
local function count(object, key)
  local _, stop = find(object, key, 1, true)
  while stop do
    local digits = match(object, "^%s*:%s*(%d+)", stop + 1)
    if digits then return #digits < 16 and tonumber(digits) or nil end
    _, stop = find(object, key, stop + 1, true)
  end
end

local function counts(object)
  local prompt = count(object, '"prompt_tokens"') or count(object, '"input_tokens"')
  local completion = count(object, '"completion_tokens"') or count(object, '"output_tokens"')
  local total = count(object, '"total_tokens"')
  if not (prompt or completion or total) then return nil end
  prompt, completion = prompt or 0, completion or 0
  return {
    prompt_tokens = prompt,
    completion_tokens = completion,
    cached_tokens = count(object, '"cached_tokens"') or 0,
    total_tokens = total or prompt + completion,
  }
end

-- Gives where a key's value begins: nil where it is no key, or null; 0 where that is not known yet.
local function value_at(text, key_end)
  local first, second = byte(text, key_end + 1, key_end + 2)
  if first == COLON and second == N then return nil end
  local _, colon = find(text, "^%s*:%s*", key_end + 1)
  if colon then return colon < #text and colon + 1 or 0 end
  return find(text, "^%s*$", key_end + 1) and 0 or nil
end

-- Gives the last counts in a text, and its end that what follows may make more of. The key is looked for without its
-- first quote: what is fast is to find its first letter, and there are many quotes.
local function used(text)
  local last
  local from, stop = find(text, USAGE, 1, true)
  while from do
    local at = byte(text, from - 1) == QUOTE and value_at(text, stop)
    if at and (at == 0 or byte(text, at) == BRACE) then
      local ended = at > 0 and select(2, find(text, "^%b{}", at))
      if ended then
        if ended - from <= LONGEST_USAGE then last = counts(sub(text, at, ended)) or last end
      elseif #text - from <= LONGEST_USAGE then
        return last, sub(text, from - 1)
      end
    end
    from, stop = find(text, USAGE, stop, true)
  end
  return last, match(sub(text, -#USAGE), '".*') or ""
end

-- Says what is not said yet. A wrapper of Envoy's costs as much as a key, and does not outlive a chunk.
local function tell_all(handle, told, values)
  local metadata
  for name, value in pairs(values) do
    if told[name] ~= value then
      told[name] = value
      metadata = metadata or handle:streamInfo():dynamicMetadata()
      metadata:set(NAMESPACE, name, value)
    end
  end
end

local function tell(handle, told, name, value) tell_all(handle, told, {[name] = value}) end

local function account(handle, answer, chunk)
  local last
  last, answer.unread = used(answer.unread .. chunk)
  if last then tell_all(handle, answer.told, last) end
end

-- Events.

local function line_end(text, from)
  local cr, lf = find(text, "\r", from, true), find(text, "\n", from, true)
  return cr and lf and math.min(cr, lf) or cr or lf
end

local function event_end(text, from, has_cr)
  if not has_cr then
    local _, stop = find(text, "\n\n", from, true)
    return stop
  end
  local at = line_end(text, from)
  while at do
    if byte(text, at) == CR and byte(text, at + 1) == LF then at = at + 1 end
    local second, third = byte(text, at + 1, at + 2)
    if second == CR and third == LF then return at + 2 end
    if second == CR or second == LF then return at + 1 end
    at = line_end(text, at + 1)
  end
end

local function is_no_object(event) return find(event, "^data:[ \t]*[^{ \t]") ~= nil end

local function has_said(event, from)
  for _, key in ipairs(SAID) do
    local at = find(event, key, from, true)
    while at do
      if find(event, '^%s*:%s*"[^"]', at + #key) then return true end
      at = find(event, key, at + #key, true)
    end
  end
  return false
end

local function has_content(event)
  if is_no_object(event) then return false end
  local _, delta = find(event, '"delta"', 1, true)
  if delta and find(event, '^%s*:%s*"', delta + 1) then return find(event, '^%s*:%s*"[^"]', delta + 1) ~= nil end
  local from = delta or find(event, '"choices"', 1, true)
  return from ~= nil and has_said(event, from)
end

local function is_extra(event)
  local _, choices = find(event, '"choices"', 1, true)
  return choices ~= nil and #event <= LONGEST_EVENT and not is_no_object(event)
    and find(event, "^%s*:%s*%[%s*%]", choices + 1) ~= nil and find(event, '"usage"%s*:%s*{') ~= nil
end

-- Says that an event in a text is what nearly all are, without a copy of it: `data: {…"delta":{"content":"x…`.
local function is_usual(text, from, stop)
  local delta, last = find(text, USUAL, from, true)
  if not delta or last >= stop or stop - from >= LONGEST_EVENT then return false end
  local space, brace = byte(text, from + 5, from + 6)
  return space == SPACE and brace == BRACE and byte(text, last + 1) ~= QUOTE and byte(text, delta - 1) == QUOTE
end

-- Counts an event that was not yet; says whether it is to be taken out.
local function judge(answer, event)
  if answer.passing then return false end
  if has_content(sub(event, 1, LONGEST_EVENT)) then answer.events = answer.events + 1 end
  return answer.hide and is_extra(event)
end

-- Gives the LF of a CR LF that ended an event and was cut in two: to go on, and what is to be read behind it.
local function torn(answer, chunk)
  local ended = answer.ended_by_cr
  if not ended or chunk == "" then return "", chunk end
  answer.ended_by_cr = nil
  if byte(chunk) ~= LF then return "", chunk end
  return ended == "goes on" and "\n" or "", sub(chunk, 2)
end

-- An event that is not yet whole is held. Where nothing is left to say of it, it goes on, and of it only a line's end
-- is kept in mind.
local function keep(answer, rest)
  if not answer.passing and (#rest > LONGEST_EVENT or is_no_object(rest)) then
    judge(answer, rest)
    answer.passing = true
  end
  answer.held = answer.passing and (match(rest, "[\r\n]$") or "") or rest
end

-- Reads a chunk's events; gives what is to go on of what was held and it.
local function events(answer, chunk)
  local gone, fresh = torn(answer, chunk)
  local text, from = answer.held .. fresh, 1
  local start = answer.passing and #answer.held + 1 or 1
  local has_cr = find(text, "\r", 1, true)
  local stop = event_end(text, 1, has_cr)
  while stop do
    local hidden = false
    if not answer.passing and is_usual(text, from, stop) then
      answer.events = answer.events + 1
    else
      hidden = judge(answer, sub(text, from, stop))
    end
    if hidden then gone, start = gone .. sub(text, start, from - 1), stop + 1 end
    if stop == #text and byte(text, stop) == CR then answer.ended_by_cr = hidden and "is hidden" or "goes on" end
    answer.passing, from = false, stop + 1
    stop = event_end(text, from, has_cr)
  end
  keep(answer, sub(text, from))
  return gone .. sub(text, start, answer.passing and #text or #text - #answer.held)
end

local function last_event(answer)
  if answer.passing or judge(answer, answer.held) then return "" end
  return answer.held
end

-- Answers.

-- Chunks are read in pieces that stay in the processor's cache: they may be as large as Envoy's buffers.
local PIECE = 16384

local function pieces(chunk)
  local from, length = -PIECE, chunk:length()
  return function()
    from = from + PIECE
    if from < length then return chunk:getBytes(from, math.min(PIECE, length - from)) end
  end
end

local function json(handle)
  local answer = {unread = "", told = {}}
  for chunk in handle:bodyChunks() do
    for bytes in pieces(chunk) do account(handle, answer, bytes) end
  end
end

-- Gives what goes on of a chunk and of what was held before it.
local function pass(handle, answer, chunk)
  local going, changed = {}, false
  for bytes in pieces(chunk) do
    local gone = events(answer, bytes)
    going[#going + 1], changed = gone, changed or gone ~= bytes
    account(handle, answer, bytes)
  end
  if answer.events > 0 then tell(handle, answer.told, "events", answer.events) end
  local text = answer.hide and table.concat(going)
  if text and changed then chunk:setBytes(text) end
  return text
end

local function stream(handle, hide)
  local answer = {unread = "", told = {}, held = "", events = 0, passing = false, hide = hide}
  local last, going
  for chunk in handle:bodyChunks() do last, going = chunk, pass(handle, answer, chunk) end
  local rest = last_event(answer)
  if answer.events > 0 then tell(handle, answer.told, "events", answer.events) end
  -- Behind trailers the last chunk has gone. What is lost then is an event without its end, which clients drop.
  if hide and rest ~= "" and handle:trailers() == nil then last:setBytes(going .. rest) end
end

local function unread(handle) for _ in handle:bodyChunks() do end end

local function is_hidden(handle)
  local said = handle:streamInfo():dynamicMetadata():get(NAMESPACE)
  return said ~= nil and said.hide == true
end

function envoy_on_request(handle) handle:headers():remove("accept-encoding") end

function envoy_on_response(handle)
  local headers = handle:headers()
  local kind, encoding = headers:get("content-type"), headers:get("content-encoding")
  local plain = encoding == nil or encoding == "identity"
  kind = string.lower(kind or "json")
  if find(kind, "text/event-stream", 1, true) == 1 then
    tell(handle, {}, "streamed", true)
    local hide = plain and is_hidden(handle)
    if hide then headers:remove("content-length") end
    if plain then stream(handle, hide) else unread(handle) end
  elseif plain and find(kind, "json", 1, true) then
    json(handle)
  else
    unread(handle)
  end
  tell(handle, {}, "whole", true)
end
