-- Ends an operation. With a client, only an unsent one of that client is cancelled.
-- KEYS: journal. ARGV: id, state, age in ms, client or '', status or '', body.
-- Answers 1 if it has ended now, 0 if it cannot end, -1 if there is none.
local record = KEYS[1] .. ':op:' .. ARGV[1]
local known = redis.call('HMGET', record, 'client', 'state', 'conversation')
if not known[1] or (ARGV[4] ~= '' and known[1] ~= ARGV[4]) then
  return -1
end
if not redis.call('ZSCORE', KEYS[1] .. ':open', ARGV[1]) then
  return 0
end
if ARGV[4] ~= '' and known[2] ~= 'queued' then
  return 0
end
redis.call('HSET', record, 'state', ARGV[2])
if ARGV[5] ~= '' then
  redis.call('HSET', record, 'status', ARGV[5], 'body', ARGV[6])
end
redis.call('PEXPIRE', record, ARGV[3])
redis.call('ZREM', KEYS[1] .. ':open', ARGV[1])
local lane = KEYS[1] .. ':lane:' .. known[3]
redis.call('LREM', lane, 1, ARGV[1])
if redis.call('EXISTS', lane) == 0 then
  redis.call('ZREM', KEYS[1] .. ':due', known[3])
  redis.call('HDEL', KEYS[1] .. ':owners', known[3])
end
return 1
