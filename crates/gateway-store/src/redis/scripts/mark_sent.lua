-- Records that a PATCH is about to be sent, unless the operation has ended.
-- KEYS: journal. ARGV: id, digest.
local record = KEYS[1] .. ':op:' .. ARGV[1]
if not redis.call('ZSCORE', KEYS[1] .. ':open', ARGV[1]) then
  return 0
end
redis.call('HSET', record, 'state', 'sent', 'patch', ARGV[2])
return 1
