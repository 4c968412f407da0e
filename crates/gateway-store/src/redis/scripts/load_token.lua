-- The token, its generation, how long it is valid, and how long the token endpoint is to be left alone.
-- KEYS: token, hold-off.
local token = redis.call('HMGET', KEYS[1], 'token', 'generation')
return { token[1] or '', tonumber(token[2] or 0), redis.call('PTTL', KEYS[1]), redis.call('PTTL', KEYS[2]) }
