-- Takes a lease. Answers whether it was free, and the last PATCH.
-- KEYS: lease, last PATCH. ARGV: owner, lease in ms.
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return { 0, '' }
end
return { 1, redis.call('GET', KEYS[2]) or '' }
