-- Looks an idempotency key up, and claims it if it is new.
-- KEYS: record, records of the client. ARGV: fingerprint, owner, lease in ms, age in ms, most, version.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'version', 'fingerprint', 'answer', 'lapses')
if known[1] then
  if known[1] ~= ARGV[6] then
    return redis.error_reply('VERSION an idempotency key')
  end
  if known[2] ~= ARGV[1] then
    return { 'mismatch', '' }
  end
  if known[3] then
    return { 'finished', known[3] }
  end
  if tonumber(known[4]) > now then
    return { 'running', '' }
  end
else
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  while redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) do
    redis.call('DEL', redis.call('ZPOPMIN', KEYS[2])[1])
  end
end
redis.call('HSET', KEYS[1], 'version', ARGV[6], 'fingerprint', ARGV[1], 'owner', ARGV[2],
  'lapses', now + ARGV[3], 'client', KEYS[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('ZADD', KEYS[2], now + ARGV[4], KEYS[1])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return { known[1] and 'interrupted' or 'new', '' }
