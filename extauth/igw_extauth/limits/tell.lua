-- Take what became of requests.
-- KEYS[4]: the number of the last news that one host charged by. News that were told before charge nothing again.
-- ARGV, from the fourth: the number of these news; tokens used; how many leases go on; those; those that ended.
local HEARD, HEARD_SECONDS = KEYS[4], 3600
local number, spent, running = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

for i = 7, 6 + running do hold(ARGV[i]) end
for i = 7 + running, #ARGV do redis.call('ZREM', LEASES, ARGV[i]) end
-- A response may take longer than its bucket would be kept for: it is charged at its end.
if running > 0 then redis.call('EXPIRE', BUCKETS, BUCKETS_SECONDS) end

if spent > 0 and number > (tonumber(redis.call('GET', HEARD)) or -1) then
  redis.call('SET', HEARD, ARGV[4], 'EX', HEARD_SECONDS)
  redis.call('INCRBY', USED, ARGV[5])
  redis.call('EXPIRE', USED, USED_SECONDS)
  if tokens then tokens.level = tokens.level - spent end
  keep()
end
return ''
