-- Included by scripts that compare times: the clock of Redis in milliseconds, since those of processes may differ by hours.
local function now_ms()
  local clock = redis.call('TIME')
  return clock[1] * 1000 + math.floor(clock[2] / 1000)
end
