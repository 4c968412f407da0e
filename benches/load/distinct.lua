-- wrk: GET one conversation after the other, never the same twice, so that no cache and no sharing of
-- equal reads can flatter a figure. Arguments: what stands before and after the id in the path.

local before, after, prefix
local n = 0

function init(args)
  before = "GET " .. args[1]
  after = (args[2] or "") .. " HTTP/1.1\r\nHost: localhost\r\n\r\n"
  -- The time alone would not do: two runs may start in the same second.
  local random = io.open("/dev/urandom", "rb")
  prefix = string.format("%02x%02x%02x%02x-%02x%02x-4000-8000-", random:read(6):byte(1, 6))
  random:close()
end

-- The text is put together by hand: wrk.format costs more than some of the servers measured here.
function request()
  n = n + 1
  return before .. prefix .. string.format("%012x", n) .. after
end

-- One line for run.sh: requests, microseconds, p50 and p99 in microseconds, failures of any kind.
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
