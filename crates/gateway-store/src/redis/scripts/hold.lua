-- Extends a claim, or gives it back.
-- KEYS: journal. ARGV: conversation, owner, `renew` or `release`, time in ms.
if redis.call('HGET', KEYS[1] .. ':owners', ARGV[1]) ~= ARGV[2] then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = KEYS[1] .. ':due'
if ARGV[3] == 'renew' then
  local ends = redis.call('ZSCORE', due, ARGV[1])
  if not ends or tonumber(ends) <= now then
    return 0
  end
else
  redis.call('HDEL', KEYS[1] .. ':owners', ARGV[1])
end
redis.call('ZADD', due, 'XX', now + ARGV[4], ARGV[1])
return 1
