-- Let a request in and count it if all limits allow that.
-- ARGV, from the fourth: lease, concurrency, requests and tokens in a minute, quota; '' where there is no limit.
-- Gives which limit was met ('' for none), and the levels of both buckets ('' where there is none).
local lease, concurrency, quota = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[8])

local function under(bucket, limit)
  limit = tonumber(limit)
  return limit and {limit = limit, level = bucket and math.min(limit, bucket.level) or limit}
end

local function exceeded()
  if quota and (tonumber(redis.call('GET', USED)) or 0) >= quota then return 'quota' end
  if requests and requests.level < 1 then return 'requests' end
  if tokens and tokens.level < 1 then return 'tokens' end
  if concurrency and redis.call('ZCARD', LEASES) >= concurrency then return 'concurrency' end
  return ''
end

requests, tokens = under(requests, ARGV[6]), under(tokens, ARGV[7])
local met = exceeded()
if met == '' then
  hold(lease)
  if requests then requests.level = requests.level - 1 end
  keep()
end
return {met, requests and text(requests.level) or '', tokens and text(tokens.level) or ''}
