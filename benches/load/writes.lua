-- wrk: PUT a new value to one conversation after the other, of so many that no two writes under way are
-- to the same, and so few that each comes round again while the gateway remembers it. Arguments: what
-- stands before and after the id in the path. POOL in the environment: how many there are.

local common = dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "common.lua")
local before, after, prefix
local n, pool = 0, tonumber(os.getenv("POOL") or 1000)

function init(args)
  before, after, prefix =
    common.begin("PUT", args, "Content-Type: application/json\r\nContent-Length: 48\r\n")
end

function request()
  n = n + 1
  return before .. prefix .. string.format("%012x", n % pool) .. after
    .. string.format('{"attributes":{"loyalty_tier":"tier %08d"}}\n', n)
end

done = common.done
