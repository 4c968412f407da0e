-- Changes something if the lease is still held: `renew`, `release`, or `record` of the last PATCH.
-- KEYS: lease, and with `record` the key of the PATCH. ARGV: owner, what, time in ms, PATCH.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == 'renew' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
elseif ARGV[2] == 'record' then
  redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[3])
else
  redis.call('DEL', KEYS[1])
end
return 1
