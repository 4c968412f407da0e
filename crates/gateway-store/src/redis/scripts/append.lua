-- Adds an operation to the end of its conversation. A second append of the same id changes nothing.
-- KEYS: journal. ARGV: id, client, conversation, accepted, not after, request, most, version.
local record = KEYS[1] .. ':op:' .. ARGV[1]
local sequence = redis.call('HGET', record, 'sequence')
if sequence then
  return tonumber(sequence)
end
if redis.call('ZCARD', KEYS[1] .. ':open') >= tonumber(ARGV[7]) then
  return redis.error_reply('FULL no room for another operation')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
sequence = redis.call('INCR', KEYS[1] .. ':sequence')
redis.call('HSET', record, 'version', ARGV[8], 'client', ARGV[2], 'conversation', ARGV[3],
  'state', 'queued', 'sequence', sequence, 'accepted', ARGV[4], 'not_after', ARGV[5],
  'request', ARGV[6])
redis.call('ZADD', KEYS[1] .. ':open', sequence, ARGV[1])
redis.call('RPUSH', KEYS[1] .. ':lane:' .. ARGV[3], ARGV[1])
-- A conversation that is claimed or delayed stays so.
redis.call('ZADD', KEYS[1] .. ':due', 'NX', now, ARGV[3])
return sequence
