-- Stores the answer to a request, or forgets the request, unless the claim is lost.
-- KEYS: record. ARGV: owner, age in ms, and the answer unless the request is forgotten.
local known = redis.call('HMGET', KEYS[1], 'owner', 'client')
if known[1] ~= ARGV[1] then
  return 0
end
if not ARGV[3] then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', known[2], KEYS[1])
  return 1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'answer', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('ZADD', known[2], now + ARGV[2], KEYS[1])
redis.call('PEXPIRE', known[2], ARGV[2])
return 1
