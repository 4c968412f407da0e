-- Claims conversations that are due, with their operations in order.
-- KEYS: journal. ARGV: most conversations, most operations of each, lease in ms, owner.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = KEYS[1] .. ':due'
local claimed = {}
for _, lane in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local operations = {}
  for _, id in ipairs(redis.call('LRANGE', KEYS[1] .. ':lane:' .. lane, 0, ARGV[2] - 1)) do
    table.insert(operations, { id, redis.call('HGETALL', KEYS[1] .. ':op:' .. id) })
  end
  redis.call('ZADD', due, now + ARGV[3], lane)
  redis.call('HSET', KEYS[1] .. ':owners', lane, ARGV[4])
  table.insert(claimed, { lane, operations })
end
return claimed
