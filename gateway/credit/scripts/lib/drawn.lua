-- What a call has drawn (policy/drawn.py has the form of the text): parts of talk, each paid by a pool's minutes or by
-- money, what it holds of spending limits, and which limits of live calls it counts against.  The counters of a tenant
-- stand in one hash: 'used POOL MONTH' and 'held POOL MONTH' in minutes, 'spent SCOPE LABEL' in micro-units, reserved
-- and spent together, 'live SCOPE'; 'released SCOPE LABEL' is what operators took off a limit (anew.lua); 'closed RANGE
-- DAY' is when that range was closed; 'bucket SCOPE' is a token bucket of new calls: thousandths of a call, and when.
local function read_drawn(text)
  local drawn = {parts = {}, spent = {}, live = {}}
  for line in string.gmatch(text or '', '[^\n]+') do
    local word, rest = string.match(line, '^(%S+) (.*)$')
    if word == 'pool' then
      local end_s, source = string.match(rest, '^(%d+) (.*)$')
      table.insert(drawn.parts, {end_s = tonumber(end_s), source = source})
    elseif word == 'money' then
      table.insert(drawn.parts, {end_s = tonumber(rest)})
    elseif word == 'spent' then
      local micros, bucket = string.match(rest, '^(%d+) (.*)$')
      table.insert(drawn.spent, {micros = tonumber(micros), bucket = bucket})
    else
      table.insert(drawn.live, rest)
    end
  end
  return drawn
end

local function write_drawn(drawn)
  local lines = {}
  for _, part in ipairs(drawn.parts) do
    table.insert(lines, part.source and 'pool ' .. whole(part.end_s) .. ' ' .. part.source
      or 'money ' .. whole(part.end_s))
  end
  for _, spent in ipairs(drawn.spent) do
    table.insert(lines, 'spent ' .. whole(spent.micros) .. ' ' .. spent.bucket)
  end
  for _, scope in ipairs(drawn.live) do
    table.insert(lines, 'live ' .. scope)
  end
  return table.concat(lines, '\n')
end

-- Talk up to end_s is paid by this source, or by money where there is none.
local function extend(parts, source, end_s)
  local last = parts[#parts]
  if last and last.source == source then
    last.end_s = end_s
  else
    table.insert(parts, {end_s = end_s, source = source})
  end
end

-- How much of the talk money pays; nil where it pays nothing, not even a connect fee.
local function money_talk(parts, talk_s)
  if #parts == 0 then
    return talk_s
  end
  local total, start, begun = 0, 0, false
  for place, part in ipairs(parts) do
    if not part.source and (talk_s > start or place == 1) then
      begun = true
      total = total + math.max(0, math.min(part.end_s, talk_s) - start)
    end
    start = part.end_s
  end
  return begun and total or nil
end

-- The tariff (read_tariff) of what money pays, in seconds of the talk that it pays: where a pool paid first it has no
-- free seconds (MONEY 2), and steps come sooner by what pools paid before them.  Beyond the parts it will be money.
local function money_tariff(tariff, parts)
  if #parts > 0 then
    if parts[1].source then
      tariff.free = 0
    end
    for _, step in ipairs(tariff.steps) do
      local last = parts[#parts].end_s
      step.from = (money_talk(parts, math.min(step.from, last)) or 0) + math.max(0, step.from - last)
    end
  end
  return tariff
end

-- Minutes drawn of each pool, and those begun within the talk; by source, each source in a list once.
local function minutes_of(parts, talk_s)
  local sources, drawn, used, start = {}, {}, {}, 0
  for _, part in ipairs(parts) do
    if part.source then
      if not drawn[part.source] then
        table.insert(sources, part.source)
        drawn[part.source], used[part.source] = 0, 0
      end
      drawn[part.source] = drawn[part.source] + (part.end_s - start) / 60
      if talk_s > start then
        used[part.source] = used[part.source] + math.ceil((math.min(part.end_s, talk_s) - start) / 60)
      end
    end
    start = part.end_s
  end
  return sources, drawn, used
end

-- How much of a charge counts in each bucket: of one scope the earliest first, what is beyond all of them in the last.
local function charged_in(spent, charge)
  local left, last, shares = {}, {}, {}
  for place, each in ipairs(spent) do
    local scope = string.match(each.bucket, '^%S+')
    local share = math.min(each.micros, left[scope] or charge)
    left[scope], last[scope], shares[place] = (left[scope] or charge) - share, place, share
  end
  for scope, place in pairs(last) do
    shares[place] = shares[place] + left[scope]
  end
  return shares
end

local function count(counters, field, change)
  if change ~= 0 then
    redis.call('HINCRBY', counters, field, whole(change))
  end
end

-- The call holds what it has drawn (sign 1), or not any more (-1).
local function count_drawn(counters, drawn, sign)
  local sources, minutes = minutes_of(drawn.parts, 0)
  for _, source in ipairs(sources) do
    count(counters, 'held ' .. source, sign * minutes[source])
  end
  for _, spent in ipairs(drawn.spent) do
    count(counters, 'spent ' .. spent.bucket, sign * spent.micros)
  end
  for _, scope in ipairs(drawn.live) do
    count(counters, 'live ' .. scope, sign)
  end
end

-- The end of the call: minutes begun and money charged stay counted, the rest goes back.  Above what was used and
-- charged before (0 but after a sweep).  The outbox entry gets two fields for the ledger, one line for each pool and
-- each bucket: pools 'MINUTES POOL MONTH' and spent 'MICROS SCOPE LABEL'.
local function use_drawn(counters, drawn, talk_s, charge, talk_before_s, charge_before, entry)
  local pools, buckets = {}, {}
  local sources, _, used = minutes_of(drawn.parts, talk_s)
  local _, _, before = minutes_of(drawn.parts, talk_before_s)
  for _, source in ipairs(sources) do
    local more = math.max(0, used[source] - before[source])
    count(counters, 'used ' .. source, more)
    if more > 0 then
      table.insert(pools, whole(more) .. ' ' .. source)
    end
  end
  local shares, had = charged_in(drawn.spent, charge), charged_in(drawn.spent, charge_before)
  for place, spent in ipairs(drawn.spent) do
    local more = math.max(0, shares[place] - had[place])
    count(counters, 'spent ' .. spent.bucket, more)
    if more > 0 then
      table.insert(buckets, whole(more) .. ' ' .. spent.bucket)
    end
  end
  for field, lines in pairs({pools = pools, spent = buckets}) do
    if #lines > 0 then
      table.insert(entry, field)
      table.insert(entry, table.concat(lines, '\n'))
    end
  end
end
