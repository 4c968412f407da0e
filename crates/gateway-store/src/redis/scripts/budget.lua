-- One heartbeat of a replica: it reports its credits and gets new ones. The sum of all credits, those of
-- dead replicas included until they have cooled, is never above the limit.
-- KEYS: state, channel of pauses. ARGV: replica, instance, beat, held, used as [[age, calls], …],
-- waiting, pause, foreign, limit, window, lease, epoch, serial, `beat` or `leave`. Times are in ms.
local ADMISSION, KEEP = 3, 3600000
local me, instance, beat = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local held, waiting, pause = tonumber(ARGV[4]), tonumber(ARGV[6]), tonumber(ARGV[7])
local window, lease = tonumber(ARGV[10]), tonumber(ARGV[11])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local text = redis.call('GET', KEYS[1])
local readable, state = pcall(cjson.decode, text or 'null')
if text and (not readable or type(state) ~= 'table' or state.version ~= 1) then
  return redis.error_reply('VERSION the call budget')
end
-- Without the state, or with one older than a replica has seen, all replicas register what they hold.
if not text or (tonumber(ARGV[12]) == state.epoch and tonumber(ARGV[13]) > state.serial) then
  state = { version = 1, epoch = now, serial = 0, registered = false, replicas = {}, cooling = {},
    pause = 0, foreign_calls = 0, foreign_ends = 0 }
end
state.serial = state.serial + 1

local used = {}
for _, use in ipairs(cjson.decode(ARGV[5])) do
  table.insert(used, { now - use[1], use[2] })
end

-- Keeps credits back. Those used in time cool then; others may have been used up to `unknown`.
local function cool(count, uses, unknown)
  for _, use in ipairs(uses) do
    local calls = math.min(count, use[2])
    local free = use[1] + window
    if calls > 0 and (not unknown or free >= unknown) then
      if free > now then
        table.insert(state.cooling, { free, calls })
      end
      count = count - calls
    end
  end
  if unknown and count > 0 then
    table.insert(state.cooling, { unknown + window, count })
  end
end

for name, replica in pairs(state.replicas) do
  if replica.lease <= now then
    cool(replica.held, replica.used, replica.lease)
    state.replicas[name] = nil
  end
end

local mine = state.replicas[me]
if mine and mine.instance > instance then
  return redis.error_reply('NAME in use')
elseif mine and mine.instance < instance then
  -- The process before this one has ended.
  cool(mine.held, mine.used, now)
  mine = nil
elseif mine and mine.beat >= beat then
  return redis.error_reply('STALE heartbeat')
end
local restarted = 0
if mine then
  held = math.min(held, mine.held)
elseif tonumber(ARGV[12]) == state.epoch or ARGV[12] == '0' then
  -- Its lease had ended, or it starts: what it held is counted already, and what it used since cools.
  cool(math.huge, used, nil)
  held, restarted = 0, 1
elseif held > 0 then
  state.registered = true
end

if pause > 0 and now + pause > state.pause then
  state.pause = now + pause
  redis.call('PUBLISH', KEYS[2], pause)
end
if tonumber(ARGV[8]) > 0 then
  local active = state.foreign_ends > now and state.foreign_calls or 0
  state.foreign_calls = math.max(active, tonumber(ARGV[8]))
  state.foreign_ends = now + window
end
local limit = tonumber(ARGV[9])
if state.foreign_ends > now then
  limit = math.max(0, limit - state.foreign_calls)
end

mine = { instance = instance, beat = beat, held = held, waiting = waiting, lease = now + lease, used = used }
state.replicas[me] = mine

local names, free = {}, limit
for name, replica in pairs(state.replicas) do
  table.insert(names, name)
  free = free - replica.held
end
table.sort(names)
local cooling = {}
for _, entry in ipairs(state.cooling) do
  if entry[1] > now then
    table.insert(cooling, entry)
    free = free - entry[2]
  end
end
state.cooling = cooling

-- The fair share. If it is less than one admission, replicas take turns, one window each.
local function fair_share(position)
  local share = math.floor(limit / #names)
  if share >= ADMISSION then
    return share
  end
  local turns = math.max(1, math.floor(limit / ADMISSION))
  local turn = (position + math.floor(now / window) * turns) % #names
  return turn < turns and math.min(ADMISSION, limit) or 0
end

local fair, others_wait = 0, false
for position, name in ipairs(names) do
  local replica = state.replicas[name]
  if name == me then
    fair = fair_share(position)
  elseif replica.waiting > 0 and replica.held < fair_share(position) then
    others_wait = true
  end
end

local since = now - state.epoch
-- A replica that holds credits is heard within a quarter of a lease. If there is none, it ends then.
local registering = since < lease / 4 or (state.registered and since < lease)
if ARGV[14] == 'leave' then
  state.replicas[me] = nil
  cool(held, used, nil)
elseif not registering then
  local least = 2 * ADMISSION * #names <= limit and 2 * ADMISSION or ADMISSION
  least = math.max(least, math.floor(limit / (20 * #names)))
  local asked = math.max(math.ceil(waiting / ADMISSION) * ADMISSION, least - held)
  local most = others_wait and fair - held or free
  mine.held = held + math.max(0, math.min(asked, free, most))
end
redis.call('SET', KEYS[1], cjson.encode(state), 'PX', KEEP)
local spend = (others_wait or limit < tonumber(ARGV[9])) and math.min(mine.held, fair) or mine.held
return { mine.held, spend, #names, math.max(0, state.pause - now), registering and 1 or 0,
  state.epoch, state.serial, restarted }
