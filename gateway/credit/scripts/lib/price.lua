-- The increment formula of MONEY 2, the same as rating.tariff (a property test proves it).  A tariff travels as
-- 'rate connect first next free minimum': micro-units and seconds; behind it 'from rate next' for each step, from which
-- second of talk on another rate and increment hold.  Everything below is a whole double.
--
-- ceil(sum of rate * billed / 60) is taken apart so that no product leaves 2^53 while the result does not: with
-- billed = 60 m + s and rate = 60 a + b each is rate m + a s + b s / 60, and the last parts are summed before they are
-- rounded up, once.  A price that leaves 2^53 all the same is still larger than any balance, and so refused.  Exact
-- for rates below 2^53 / 60.
local function read_tariff(text)
  local rate, connect, first, next_, free, minimum, rest =
    string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)(.*)$')
  local steps = {}
  for from, step_rate, step_next in string.gmatch(rest, ' (%d+) (%d+) (%d+)') do
    table.insert(steps, {from = tonumber(from), rate = tonumber(step_rate), next = tonumber(step_next)})
  end
  return {
    rate = tonumber(rate), connect = tonumber(connect), first = tonumber(first),
    next = tonumber(next_), free = tonumber(free), minimum = tonumber(minimum), steps = steps,
  }
end

-- The end of the increment of a piece, or of the first one, that so many seconds past the free ones reach.
local function round_up(first, piece, beyond)
  local begin = math.max(first, piece.begin)
  if beyond <= begin then
    return begin
  end
  return begin + math.ceil((beyond - begin) / piece.next) * piece.next
end

-- What holds from which billed second on: each step from the end of the increment it falls into.
local function pieces(tariff)
  local found = {{begin = 0, rate = tariff.rate, next = tariff.next}}
  for _, step in ipairs(tariff.steps) do
    local beyond, begin = step.from - tariff.free, 0
    if beyond > 0 then
      begin = round_up(tariff.first, found[#found], beyond)
    end
    if begin == found[#found].begin then
      table.remove(found)
    end
    table.insert(found, {begin = begin, rate = step.rate, next = step.next})
  end
  return found
end

-- So many seconds past the free ones (at least 1), rounded up to whole increments.
local function whole_increments(tariff, known, beyond)
  local place = #known
  while known[place].begin >= beyond do
    place = place - 1
  end
  return round_up(tariff.first, known[place], beyond)
end

-- rate * seconds / 60 as a whole number and sixtieths.
local function rated(rate, seconds)
  local rest, part = seconds % 60, rate % 60
  return rate * ((seconds - rest) / 60) + (rate - part) / 60 * rest, part * rest
end

local function price(tariff, talk_s)
  local beyond, micros, sixtieths = talk_s - tariff.free, 0, 0
  if beyond > 0 then
    local known = pieces(tariff)
    local billed = whole_increments(tariff, known, beyond)
    for place, piece in ipairs(known) do
      local following = known[place + 1]
      local seconds = math.min(billed, following and following.begin or billed) - piece.begin
      if seconds > 0 then
        local some, part = rated(piece.rate, seconds)
        micros, sixtieths = micros + some, sixtieths + part
      end
    end
  end
  return math.max(tariff.minimum, tariff.connect + micros + math.ceil(sixtieths / 60))
end

-- The end of the last increment of a piece that micros less sixtieths pay for, in billed seconds.  Its rate is above 0.
local function round_down(first, piece, micros, sixtieths)
  local minutes = math.floor(micros / piece.rate)
  local seconds = minutes * 60 + math.floor(((micros - minutes * piece.rate) * 60 - sixtieths) / piece.rate)
  local begin = math.max(first, piece.begin)
  return begin + math.floor((piece.begin + seconds - begin) / piece.next) * piece.next
end

-- The furthest end of a tick, at most end_s (an end of an increment), whose price up to there is within the budget:
-- what is held already plus what is available.  nil where not one increment beyond start_s can be paid.
local function affordable_end(tariff, start_s, end_s, budget)
  if price(tariff, end_s) <= budget then
    return end_s
  end
  local known = pieces(tariff)
  local least = tariff.free + whole_increments(tariff, known, math.max(1, start_s - tariff.free + 1))
  if price(tariff, least) > budget then
    return nil
  end
  -- ceil(sum of rate * billed / 60) <= b: what the pieces before cost is taken off, piece by piece
  local micros, sixtieths = budget - tariff.connect, 0
  for place, piece in ipairs(known) do
    local following = known[place + 1]
    local cost, part = 0, 0
    if following then
      cost, part = rated(piece.rate, following.begin - piece.begin)
      part = part + sixtieths
    end
    if not following or cost + math.ceil(part / 60) > micros then
      return math.min(end_s, tariff.free + round_down(tariff.first, piece, micros, sixtieths))
    end
    micros, sixtieths = micros - cost, part
  end
end
