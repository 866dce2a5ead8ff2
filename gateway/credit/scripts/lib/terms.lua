-- By which terms a call draws (policy/terms.py has the form of the text), and what they leave at this moment.
local function read_terms(text, hour)
  local terms = {credit = 0, pools = {}, spend = {}, live = {}, rate = {}}
  local labels = {hour = hour, day = string.sub(hour, 1, 10), month = string.sub(hour, 1, 7)}
  for line in string.gmatch(text, '[^\n]+') do
    local word, rest = string.match(line, '^(%S+) (.*)$')
    if word == 'credit' then
      terms.credit = tonumber(rest)
    elseif word == 'pool' then
      local pool = {}
      for name, total in string.gmatch(rest, '(%S+) (%d+)') do
        table.insert(pool, {source = name .. ' ' .. labels.month, total = tonumber(total)})
      end
      table.insert(terms.pools, pool)
    elseif word == 'spend' then
      local scope, period, most = string.match(rest, '^(%S+)/(%S+) (%d+)$')
      table.insert(terms.spend, {bucket = scope .. '/' .. period .. ' ' .. labels[period], most = tonumber(most)})
    elseif word == 'live' or word == 'rate' then
      local scope, most = string.match(rest, '^(%S+) (%d+)$')
      table.insert(terms[word], {scope = scope, most = tonumber(most)})
    end
  end
  return terms
end

-- Minutes of the first pool that has any, at most so many, at least one; nil where none has.  A pool is at its end where
-- one of those beside it is.
local function minutes_left(counters, terms, wanted)
  for _, pool in ipairs(terms.pools) do
    local left = nil
    for place, each in ipairs(pool) do
      local minutes = redis.call('HMGET', counters, 'used ' .. each.source, 'held ' .. each.source)
      local rest = each.total - tonumber(minutes[1] or 0) - tonumber(minutes[2] or 0)
      if place == 1 or rest < 1 then
        left = math.min(left or rest, rest)
      end
    end
    if left >= 1 then
      return pool[1].source, math.min(wanted, left)
    end
  end
end

-- A tick is granted: the call has drawn it, and the tenant's counters know.  Talk before it that no part stands for was
-- paid by money: it was granted while the store was away.
local function draw(counters, terms, drawn, start_s, end_s, source, cost)
  if #terms.pools > 0 then
    if #drawn.parts == 0 and start_s > 0 then
      extend(drawn.parts, nil, start_s)
    end
    extend(drawn.parts, source, end_s)
  end
  if source then
    count(counters, 'held ' .. source, (end_s - start_s) / 60)
  end
  for _, limit in ipairs(cost > 0 and terms.spend or {}) do
    local found = nil
    for _, spent in ipairs(drawn.spent) do
      found = spent.bucket == limit.bucket and spent or found
    end
    if found then
      found.micros = found.micros + cost
    else
      table.insert(drawn.spent, {micros = cost, bucket = limit.bucket})
    end
    count(counters, 'spent ' .. limit.bucket, cost)
  end
  return write_drawn(drawn)
end

-- Money that every spending limit leaves, and 'SCOPE/PERIOD' of the one that leaves least; nil where there is none.
local function spend_left(counters, terms)
  local left, scope = nil, nil
  for _, limit in ipairs(terms.spend) do
    local rest = limit.most - tonumber(redis.call('HGET', counters, 'spent ' .. limit.bucket) or 0)
    if not left or rest < left then
      left, scope = rest, string.match(limit.bucket, '^%S+')
    end
  end
  return left, scope
end

-- The balance alone pays.
local NO_TERMS = {credit = 0, pools = {}, spend = {}, live = {}, rate = {}}

-- Who pays for the next tick, talk from start_s to at most end_s, of which balance and held are the account's and
-- call_held the call's: the minutes of a pool, else money.  Nothing is written.
-- Answers end_s, cost, source (nil: money) and whether it was trimmed; or nil, why not, and of a limit whose.
local function tick(tariff, terms, parts, counters, start_s, end_s, balance, held, call_held)
  local source, minutes = minutes_left(counters, terms, math.ceil((end_s - start_s) / 60))
  if source then
    return start_s + minutes * 60, 0, source, false
  end
  if tariff == '' then
    return nil, 'NO_MINUTES'
  end
  local available, room, scope = balance + terms.credit - held, spend_left(counters, terms)
  local paid_s = money_talk(parts, start_s) or 0
  local before = start_s - paid_s
  local budget = math.min(available, room or available)
  local positive = balance > 0 or (terms.credit > 0 and available > 0)
  local known = money_tariff(read_tariff(tariff), parts)
  local money_end = positive and affordable_end(known, paid_s, end_s - before, budget + call_held)
  if not money_end then
    if room and positive and room < available then
      return nil, 'LIMIT_SPEND', scope
    end
    return nil, 'NO_CREDIT'
  end
  -- what was held before the answer may pay for more than the first tick (lib/resolved.lua)
  local cost = math.max(0, price(known, money_end) - call_held)
  if cost > math.max(0, available) or held + cost > MOST then
    return nil, 'ALERT'
  end
  return before + money_end, cost, nil, before + money_end < end_s
end
