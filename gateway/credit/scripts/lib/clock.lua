-- Redis' own clock in Unix milliseconds: leases of every gate are judged by this one clock (MONEY 5).
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
