-- The number of unfinished operations, and when the oldest was accepted.
-- KEYS: journal.
local oldest = redis.call('ZRANGE', KEYS[1] .. ':open', 0, 0)[1]
local accepted = oldest and redis.call('HGET', KEYS[1] .. ':op:' .. oldest, 'accepted')
return { redis.call('ZCARD', KEYS[1] .. ':open'), accepted or '' }
