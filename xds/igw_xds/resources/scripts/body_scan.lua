-- Reads JSON's tokens off a body, a window of it at a time. The second part of the script that `body.lua` ends.

local WINDOW = 65536
local MOST_TOKENS = 262144
local MOST_QUOTES = 1048576
local MOST_MEMBERS = 1024
local DEEPEST = 512
local LONGEST_KEY = 256
local LONGEST_SPELLING = 1536
local FAR = math.huge

local SPACE, QUOTE, BACKSLASH, COLON, COMMA = byte(' "\\:,', 1, 5)
local OPEN, CLOSE, LIST, END = byte("{}[]", 1, 4)
local CLOSED_BY = {[OPEN] = CLOSE, [LIST] = END}

-- The scan: `text` is the window, behind `offset` bytes of the body; indices are those of `text`. `ahead` holds where
-- the next of each bracket and quote stands in the window, and is found anew only when it is passed. All that a scan
-- comes to know has its place from the start: a table that grows is made anew.

local function scanning(body, offset)
  local length = body:length()
  return {
    body = body, length = length, offset = offset, text = body:getBytes(offset, math.min(WINDOW, length - offset)),
    tokens = 0, quotes = 0, members = 0, ahead = {0, 0, 0, 0, 0},
    routes = false, named = false, model = false, inside = 0, stream = false, options = false, usage = false
  }
end

-- Takes the next window, behind what is kept of this one; false where the body ends.
local function forward(scan, kept_from)
  local start = scan.offset + #scan.text
  local size = math.min(WINDOW, scan.length - start)
  if size <= 0 then return false end
  local kept, text = sub(scan.text, kept_from), scan.body:getBytes(start, size)
  if kept ~= "" then text = kept .. text end
  scan.text, scan.offset = text, start - #kept
  scan.ahead = {0, 0, 0, 0, 0}
  return true
end

local function must_forward(scan, kept_from)
  if not forward(scan, kept_from) then error(INVALID_JSON) end
end

local function count(scan)
  scan.tokens = scan.tokens + 1
  if scan.tokens > MOST_TOKENS then error(COMPLEX) end
end

-- The next byte that is no whitespace: its index and itself; nothing where the body ends.
local function next_byte(scan, at)
  local found = byte(scan.text, at)
  if found ~= nil and found > SPACE then return at, found end
  while true do
    at = match(scan.text, "^[ \t\n\r]*()", at)
    found = byte(scan.text, at)
    if found ~= nil then return at, found end
    if not forward(scan, at) then return end
    at = 1
  end
end

local function next_mark(scan, at)
  local found, mark = next_byte(scan, at)
  if found == nil then error(INVALID_JSON) end
  return found, mark
end

local function is_escaped(text, from, at)
  local first = at
  while first > from and byte(text, first - 1) == BACKSLASH do first = first - 1 end
  return (at - first) % 2 == 1
end

-- The index of the quote that ends the string whose content begins at `from`, if it is in this window, and how many
-- escaped ones stand before.
local function quote_in(text, from)
  local at, passed = find(text, '"', from, true), 0
  while at ~= nil and byte(text, at - 1) == BACKSLASH do
    -- Two backslashes are rare: others are not asked of a function, as there may be a quote in each word.
    if (at == from or byte(text, at - 2) == BACKSLASH) and not is_escaped(text, from, at) then break end
    at, passed = find(text, '"', at + 1, true), passed + 1
  end
  return at, passed
end

local function count_quotes(scan, number)
  scan.quotes = scan.quotes + number
  if scan.quotes > MOST_QUOTES then error(COMPLEX) end
end

-- The same, in this window or a later one.
local function end_of_string(scan, from)
  local at, passed = quote_in(scan.text, from)
  count_quotes(scan, passed)
  while at == nil do
    local behind = #scan.text + 1
    from = is_escaped(scan.text, from, behind) and 2 or 1
    must_forward(scan, behind)
    at, passed = quote_in(scan.text, from)
    if from == 2 and byte(scan.text) == QUOTE then passed = passed + 1 end
    count_quotes(scan, passed)
  end
  return at
end

-- The same, its content kept in the window: where that begins and the quote, or no quote when it is longer than `most`.
local function kept_string(scan, from, most)
  while true do
    local at, passed = quote_in(scan.text, from)
    if at ~= nil and at - from > most then return from end
    if at ~= nil then
      count_quotes(scan, passed)
      return from, at
    end
    if #scan.text - from >= most then return from end
    must_forward(scan, from)
    from = 1
  end
end

local function is_number(text)
  local rest = match(text, "^%-?0(.*)$") or match(text, "^%-?[1-9]%d*(.*)$")
  if rest == nil then return false end
  rest = match(rest, "^%.%d+(.*)$") or rest
  return rest == "" or find(rest, "^[eE][+-]?%d+$") ~= nil
end

-- A number, true, false or null: its last index and text.
local function scalar(scan, from)
  while true do
    local _, last = find(scan.text, "^[%w+.-]*", from)
    if last - from >= LONGEST_SPELLING then error(INVALID_JSON) end
    if last < #scan.text then
      local text = sub(scan.text, from, last)
      if text == "true" or text == "false" or text == "null" or is_number(text) then return last, text end
      error(INVALID_JSON)
    end
    must_forward(scan, from)
    from = 1
  end
end

-- The first bracket from `at` on in the window, in a string or not; FAR where there is none.
local function any_bracket(text, ahead, at)
  local open, close, list, closing = ahead[2], ahead[3], ahead[4], ahead[5]
  if open < at then open = find(text, "{", at, true) or FAR ahead[2] = open end
  if close < at then close = find(text, "}", at, true) or FAR ahead[3] = close end
  if list < at then list = find(text, "[", at, true) or FAR ahead[4] = list end
  if closing < at then closing = find(text, "]", at, true) or FAR ahead[5] = closing end
  if close < open then open = close end
  if closing < list then list = closing end
  return open < list and open or list
end

-- The next bracket that is in no string. Strings are most of what is nested, so they are passed in a loop of their own.
local function next_bracket(scan, at)
  local text, ahead = scan.text, scan.ahead
  local quote, bracket = ahead[1], any_bracket(text, ahead, at)
  while true do
    if quote < at then quote = find(text, '"', at, true) or FAR end
    if bracket < quote then
      ahead[1] = quote
      return bracket
    elseif quote < FAR then
      local last = find(text, '"', quote + 1, true)
      if last == nil or byte(text, last - 1) == BACKSLASH then last = end_of_string(scan, quote + 1) end
      at = last + 1
      count(scan)
    else
      must_forward(scan, #text + 1)
      at = 1
    end
    if scan.ahead ~= ahead then text, ahead, quote, bracket = scan.text, scan.ahead, 0, 0 end
    if bracket < at then bracket = any_bracket(text, ahead, at) end
  end
end

-- The last index of an object or array that is opened by `bracket`, just before `at`.
local function end_of_nested(scan, at, bracket)
  local open, depth = {bracket}, 1
  while depth > 0 do
    at = next_bracket(scan, at)
    local mark = byte(scan.text, at)
    if mark == OPEN or mark == LIST then
      depth = depth + 1
      if depth >= DEEPEST then error(INVALID_JSON) end
      open[depth] = mark
    elseif CLOSED_BY[open[depth]] == mark then
      depth = depth - 1
    else
      error(INVALID_JSON)
    end
    count(scan)
    at = at + 1
  end
  return at - 1
end

-- Any value whose first byte, `mark`, is at `at`: its last index, and its text when it is short and plain.
local function value(scan, at, mark)
  if mark == OPEN or mark == LIST then
    count(scan)
    return end_of_nested(scan, at + 1, mark)
  end
  if mark ~= QUOTE then return scalar(scan, at) end
  local last = end_of_string(scan, at + 1)
  count(scan)
  return last
end

-- A key: the index of its last quote, and what it says when it is short.
local function key(scan, at, mark)
  if mark ~= QUOTE then error(INVALID_JSON) end
  local from, last = kept_string(scan, at + 1, LONGEST_KEY)
  local name = last and spoken(sub(scan.text, from, last - 1))
  last = last or end_of_string(scan, from)
  count(scan)
  return last, name
end

-- What nearly all keys are, up to their values: in one expression, for which Lua's own steps take five times as long.
local USUAL_KEY = '^"([%w_]+)": ?()'

-- A member's key, whose first byte, `mark`, is at `at`, and its colon: where its value begins, and what the key says.
local function member(scan, at, mark, reader)
  local name, behind = match(scan.text, USUAL_KEY, at)
  if name then
    count(scan)
    reader.key(scan, name)
    return behind, name
  end
  at, name = key(scan, at, mark)
  reader.key(scan, name)
  at, mark = next_mark(scan, at + 1)
  if mark ~= COLON then error(INVALID_JSON) end
  return at + 1, name
end

-- An object from behind its `{` on, as strictly as RFC 8259 says: the index of its `}`. `reader.key` hears of each
-- key as it ends, `reader.value` reads each value and gives its last index.
local function object(scan, at, reader)
  local mark, name
  at, mark = next_mark(scan, at)
  if mark == CLOSE then return at end
  while true do
    at, name = member(scan, at, mark, reader)
    at, mark = next_mark(scan, at)
    at = reader.value(scan, at, mark, name)
    at, mark = next_mark(scan, at + 1)
    if mark == CLOSE then return at end
    if mark ~= COMMA then error(INVALID_JSON) end
    at, mark = next_mark(scan, at + 1)
  end
end
