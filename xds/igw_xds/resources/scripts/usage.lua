-- Reads what an answer used, as it passes, into Envoy's dynamic metadata under "igw.usage": prompt_tokens,
-- completion_tokens, cached_tokens, total_tokens, streamed (an event stream), events (those with content) and whole
-- (it came to its end). Each is there as soon as it is known: an answer that is cut leaves what was seen of it.
--
-- It reads text: a quote inside of JSON's strings is escaped, so no text that a model says passes for a key. But model
-- servers give requests' objects back (tools, metadata), in which clients may write what they like.
--   used:    the last object under "usage" that has a count, of at most 4 KiB, and lies in the answer itself, or in an
--            event or an object of it (Responses, Messages); a count that it lacks is 0.
--   content: an event whose "delta" is a string that is not empty (Responses); or has, behind "delta" or else behind
--            "choices", a text under one of SAID that is not empty (chat, completions). Its first 64 KiB count.
--   extra:   an event of at most 64 KiB with "choices":[] and an object under "usage". Where igw.body asked for it
--            and not the client (key `hide`), it is taken out. For that, an event goes on when it is whole, or longer.
-- An event is what comes up to an empty line, its lines ended by LF, CR LF or CR; its data is one line with an object.
-- Without `hide` nothing is held back.

local byte, find, match, sub = string.byte, string.find, string.match, string.sub

local NAMESPACE = "igw.usage"
local USAGE, LONGEST_USAGE, LONGEST_EVENT, LONGEST_GAP = 'usage"', 4096, 65536, 64
local SAID = {'"content"', '"reasoning_content"', '"reasoning"', '"arguments"', '"refusal"', '"text"'}
local USUAL = 'delta":{"content":"'
local LF, CR, SPACE, QUOTE, COLON, N, BRACE = 10, 13, 32, 34, 58, 110, 123
local BRACKET, CLOSING_BRACKET, CLOSING_BRACE = 91, 93, 125

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

-- Gives where the first object under "usage" begins; else nil, and from where on it may begin with what follows. The
-- key is looked for without its first quote: what is fast is to find its first letter, and there are many quotes.
local function first_usage(text, from)
  local key, stop = find(text, USAGE, from, true)
  while key do
    local at = byte(text, key - 1) == QUOTE and value_at(text, stop)
    if at == 0 and #text - key < LONGEST_GAP then return nil, key - 1 end
    if at and at > 0 and byte(text, at) == BRACE then return at end
    key, stop = find(text, USAGE, stop, true)
  end
  return nil, find(text, '"', math.max(from, #text - #USAGE + 1), true) or #text + 1
end

-- From the first such object on a document is read token by token, for where an object lies is known once it is closed:
-- `depth` counts from there. Objects deeper than `lowest`, the least deep one yet, are none of ours.
local function reading(at) return {depth = 0, lowest = 0, object = "", from = at} end

-- Gives where a string that is open ends; else nil, and where it goes on in what follows.
local function string_end(text, from)
  local at = find(text, '["\\]', from)
  while at do
    if byte(text, at) == QUOTE then return at end
    from = at + 2
    at = find(text, '["\\]', from)
  end
  return nil, math.max(1, from - #text)
end

-- Gives where to go on behind a string, which is a key of ours perhaps; nil where that is not known yet.
local function behind_string(seen, text, at)
  local stop, resume = string_end(text, at + 1)
  if not stop then
    if #text - at <= #USAGE then return nil end
    seen.resume = resume
    return #text + 1
  end
  if stop - at ~= #USAGE or sub(text, at + 1, stop) ~= USAGE then return stop + 1 end
  local value = value_at(text, stop)
  if value == 0 and #text - at < LONGEST_GAP then return nil end
  if value and value > 0 and byte(text, value) == BRACE and seen.depth <= seen.lowest then
    if seen.depth < seen.lowest then seen.counts = nil end
    seen.lowest, seen.object, seen.from = seen.depth, "", value
  end
  return stop + 1
end

local function close(seen, text, at)
  seen.depth = seen.depth - 1
  if seen.from and seen.depth == seen.lowest then
    local object = seen.object .. sub(text, seen.from, at)
    if #object <= LONGEST_USAGE then seen.counts = counts(object) or seen.counts end
    seen.from = nil
  end
end

-- Keeps what a text has of an object that is not closed in it.
local function keep_object(seen, text, to)
  if not seen.from then return end
  seen.object, seen.from = seen.object .. sub(text, seen.from, to), 1
  if #seen.object > LONGEST_USAGE then seen.from = nil end
end

-- Reads tokens; gives where to go on: behind a document that ends with its line, or with what follows, and whether it
-- has ended.
local function tokens(seen, text, at, in_lines)
  if seen.resume then
    local stop, resume = string_end(text, seen.resume)
    seen.resume = resume
    if not stop then return #text + 1, false end
    at = stop + 1
  end
  local token = find(text, '["{}%[%]\r\n]', at)
  while token do
    local kind = byte(text, token)
    at = token + 1
    if kind == QUOTE then
      at = behind_string(seen, text, token)
      if not at then return token, false end
    elseif kind == BRACE or kind == BRACKET then
      seen.depth = seen.depth + 1
    elseif kind == CLOSING_BRACE or kind == CLOSING_BRACKET then
      close(seen, text, token)
    elseif in_lines then
      return at, true
    end
    token = find(text, '["{}%[%]\r\n]', at)
  end
  return #text + 1, false
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

-- Says what a document used that has ended: how deep its object lay is known by what was closed behind it.
local function settle(handle, answer)
  local seen = answer.seen
  answer.seen = nil
  local most = answer.in_lines and 2 or 1
  if seen and seen.counts and seen.lowest - seen.depth >= 1 and seen.lowest - seen.depth <= most then
    tell_all(handle, answer.told, seen.counts)
  end
end

local function account(handle, answer, chunk)
  local text, at, ended = answer.unread .. chunk, 1, nil
  repeat
    if not answer.seen then
      local object, again = first_usage(text, at)
      if not object then
        answer.unread = sub(text, again)
        return
      end
      answer.seen, at = reading(object), object
    end
    at, ended = tokens(answer.seen, text, at, answer.in_lines)
    if ended then settle(handle, answer) end
  until not ended
  keep_object(answer.seen, text, at - 1)
  answer.unread = sub(text, at)
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
  settle(handle, answer)
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
  local answer = {unread = "", told = {}, in_lines = true, held = "", events = 0, passing = false, hide = hide}
  local last, going
  for chunk in handle:bodyChunks() do last, going = chunk, pass(handle, answer, chunk) end
  local rest = last_event(answer)
  settle(handle, answer)
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
