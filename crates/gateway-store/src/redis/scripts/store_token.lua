-- Stores a new token and ends the lock, if the lock is still held. Answers the generation, or 0.
-- KEYS: token, lock, generation. ARGV: owner, token, valid in ms.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
local generation = redis.call('INCR', KEYS[3])
redis.call('HSET', KEYS[1], 'token', ARGV[2], 'generation', generation)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('DEL', KEYS[2])
return generation
