-- wrk: PUT a new value to one conversation after the other, of so many that no two writes under way are
-- to the same, and so few that each comes round again while the gateway remembers it. Arguments: what
-- stands before and after the id in the path. POOL in the environment: how many there are.

local before, after, prefix
local n, pool = 0, tonumber(os.getenv("POOL") or 1000)

function init(args)
  before = "PUT " .. args[1]
  after = (args[2] or "") .. " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    .. "Content-Length: 48\r\n\r\n"
  -- The time alone would not do: two runs may start in the same second.
  local random = io.open("/dev/urandom", "rb")
  prefix = string.format("%02x%02x%02x%02x-%02x%02x-4000-8000-", random:read(6):byte(1, 6))
  random:close()
end

function request()
  n = n + 1
  return before .. prefix .. string.format("%012x", n % pool) .. after
    .. string.format('{"attributes":{"loyalty_tier":"tier %08d"}}\n', n)
end

-- One line for run.sh: requests, microseconds, p50 and p99 in microseconds, failures of any kind.
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
