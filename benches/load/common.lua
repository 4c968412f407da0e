-- What the scripts for wrk share: paths with ids that nobody has seen before, and the line of figures.

local common = {}

-- What stands before the id, what stands after it, and how ids begin in this run. Arguments of the
-- script: what stands before and after the id in the path.
function common.begin(method, args, headers)
  -- The time alone would not do: two runs may start in the same second.
  local random = io.open("/dev/urandom", "rb")
  local prefix = string.format("%02x%02x%02x%02x-%02x%02x-4000-8000-", random:read(6):byte(1, 6))
  random:close()
  local key = "X-API-Key: " .. os.getenv("KEY") .. "\r\n"
  local after = (args[2] or "") .. " HTTP/1.1\r\nHost: localhost\r\n" .. key .. headers .. "\r\n"
  return method .. " " .. args[1], after, prefix
end

-- One line for run.sh: requests, microseconds, p50 and p99 in microseconds, failures of any kind.
function common.done(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end

return common
