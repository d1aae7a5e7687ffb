-- One project's counts; `admit.lua` and `tell.lua` follow on this. The rules are those of project.py.
-- KEYS: leases (sorted set: lease, its end), buckets (hash), tokens used in the month (string).
-- ARGV: the time in seconds, or '' for Redis' own; seconds of a lease; the most leases that are kept.
local LEASES, BUCKETS, USED = KEYS[1], KEYS[2], KEYS[3]
local BUCKETS_SECONDS, USED_SECONDS = 86400, 35 * 86400

local now, lease_seconds, most_leases = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end

-- All of a number: Lua's own text has 14 digits.
local function text(number)
  return string.format('%.17g', number)
end

local function hold(lease)
  if redis.call('ZSCORE', LEASES, lease) or redis.call('ZCARD', LEASES) < most_leases then
    redis.call('ZADD', LEASES, text(now + lease_seconds), lease)
    redis.call('EXPIRE', LEASES, math.ceil(lease_seconds) + 1)
  end
end

local stored = redis.call('HMGET', BUCKETS, 'at', 'requests', 'requests_limit', 'tokens', 'tokens_limit')
local elapsed = math.max(0, now - (tonumber(stored[1]) or now))

local function filled(level, limit)
  level, limit = tonumber(level), tonumber(limit)
  return limit and {limit = limit, level = math.min(limit, level + elapsed * limit / 60)}
end

local requests, tokens = filled(stored[2], stored[3]), filled(stored[4], stored[5])

local function keep_one(name, bucket)
  if bucket then
    redis.call('HSET', BUCKETS, name, text(bucket.level), name .. '_limit', text(bucket.limit), 'at', text(now))
    redis.call('EXPIRE', BUCKETS, BUCKETS_SECONDS)
  end
end

local function keep()
  redis.call('DEL', BUCKETS)
  keep_one('requests', requests)
  keep_one('tokens', tokens)
end

redis.call('ZREMRANGEBYSCORE', LEASES, '-inf', text(now))
