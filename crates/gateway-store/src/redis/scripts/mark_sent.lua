-- Records that a PATCH is about to be sent, unless the operation has ended or another replica has claimed it.
-- KEYS: journal. ARGV: id, digest, owner.
local record = KEYS[1] .. ':op:' .. ARGV[1]
if not redis.call('ZSCORE', KEYS[1] .. ':open', ARGV[1]) then
  return 0
end
local owner = redis.call('HGET', KEYS[1] .. ':owners', redis.call('HGET', record, 'conversation'))
if owner and owner ~= ARGV[3] then
  return 0
end
redis.call('HSET', record, 'state', 'sent', 'patch', ARGV[2])
return 1
