-- The increment formula of MONEY 2, the same as rating.tariff (a property test proves it).  A tariff travels as
-- 'rate connect first next free minimum': micro-units and seconds.  Everything below is a whole double.
--
-- ceil(rate * billed / 60) is taken apart so that no product leaves 2^53 while the result does not: with
-- billed = 60 m + s and rate = 60 a + b it is rate m + a s + ceil(b s / 60).  A price that leaves 2^53 all the same
-- is still larger than any balance, and so refused.  Exact for rates below 2^53 / 60.
local function read_tariff(text)
  local rate, connect, first, next_, free, minimum = string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
  return {
    rate = tonumber(rate), connect = tonumber(connect), first = tonumber(first),
    next = tonumber(next_), free = tonumber(free), minimum = tonumber(minimum),
  }
end

local function price(tariff, talk_s)
  local beyond, billed = talk_s - tariff.free, 0
  if beyond > 0 then
    billed = tariff.first
    if beyond > billed then
      billed = billed + math.ceil((beyond - billed) / tariff.next) * tariff.next
    end
  end
  local rate, seconds = tariff.rate, billed % 60
  local minutes, part = (billed - seconds) / 60, rate % 60
  local rated = rate * minutes + (rate - part) / 60 * seconds + math.ceil(part * seconds / 60)
  return math.max(tariff.minimum, tariff.connect + rated)
end

-- The furthest end of a tick, at most end_s (an end of an increment), whose price up to there is within the budget:
-- what is held already plus what is available.  nil where not one increment beyond start_s can be paid.
local function affordable_end(tariff, start_s, end_s, budget)
  if price(tariff, end_s) <= budget then
    return end_s
  end
  local least = tariff.free + tariff.first
  if start_s >= least then
    least = least + (math.floor((start_s - least) / tariff.next) + 1) * tariff.next
  end
  if price(tariff, least) > budget then
    return nil
  end
  -- ceil(rate * billed / 60) <= b is billed <= 60 b / rate; taken apart again.  The rate is above 0 here.
  local rated, rate = budget - tariff.connect, tariff.rate
  local minutes = math.floor(rated / rate)
  local seconds = minutes * 60 + math.floor((rated - minutes * rate) * 60 / rate)
  local increments = math.floor((seconds - tariff.first) / tariff.next)
  return math.min(end_s, tariff.free + tariff.first + increments * tariff.next)
end
