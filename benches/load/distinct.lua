-- wrk: GET one conversation after the other, never the same twice, so that no cache and no sharing of
-- equal reads can flatter a figure. Arguments: what stands before and after the id in the path.

local common = dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "common.lua")
local before, after, prefix
local n = 0

function init(args)
  before, after, prefix = common.begin("GET", args, "")
end

-- The text is put together by hand: wrk.format costs more than some of the servers measured here.
function request()
  n = n + 1
  return before .. prefix .. string.format("%012x", n) .. after
end

done = common.done
