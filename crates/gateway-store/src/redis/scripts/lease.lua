-- Changes something if the lease is still held: `release`, or `record` of a PATCH, which extends the lease.
-- KEYS: lease, and the key of the PATCH. ARGV: owner, what, lease in ms, PATCH or nothing, time to keep it in ms.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[4] and ARGV[4] ~= '' then
  redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
end
if ARGV[2] == 'record' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
else
  redis.call('DEL', KEYS[1])
end
return 1
