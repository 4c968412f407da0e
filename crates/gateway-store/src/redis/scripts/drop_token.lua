-- Drops the token if it is of this generation.
-- KEYS: token. ARGV: generation.
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
