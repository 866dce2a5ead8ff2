-- Reserve the first tick of a call: limits, then money; a refusal leaves no trace (MONEY 2, 3).  One by a limit says
-- whose it is: its scope, of money with the period behind it.
-- KEYS: epoch, account, call, leases, counters; where numbers of a range are limited the range's numbers
-- ARGV: epoch, owner, generation, member 'ID TENANT', tariff ('' where nobody pays), end_s, lease_s,
--       max_calls ('' unlimited), calls_per_second ('' unlimited), adoption, usage, terms ('' the balance alone pays),
--       hour in the tenant's time zone ('' without terms); with a sixth key the range, the number called, most numbers
--       within an hour, and the day until whose end one more closes the range
--@include clock
--@include amount
--@include fence
--@include price
--@include grant
--@include drawn
--@include terms
-- The tenant's live leases: the account counts calls, and those whose lease has run out, but that no sweep has
-- closed yet, do not live.  Looked at only where the limit is reached, and no further than OVERDUE of them.
local OVERDUE = 1000

local function live_calls(calls, now)
  local tenant = string.match(ARGV[4], '^%S+( .*)$')
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, OVERDUE)) do
    if string.match(member, '^%S+( .*)$') == tenant then
      calls = calls - 1
    end
  end
  return calls
end

-- A token bucket of one second's calls, in thousandths of a call; nil where it has not one whole call in it.
local function take_token(per_second, milli, filled_ms, now)
  local full = per_second * 1000
  local level = full
  if milli then
    level = math.min(full, tonumber(milli) + per_second * math.max(0, now - tonumber(filled_ms)))
  end
  if level < 1000 then
    return nil
  end
  return level - 1000
end

-- Whether the range is closed, or this number would be one too many: then it is closed from now on, for a refusal
-- alone would let the next hour go on.  No more numbers are remembered than may be called.
local HOUR_MS = 3600000

local function closed_range(now)
  local field = 'closed ' .. ARGV[14] .. ' ' .. ARGV[17]
  if redis.call('HEXISTS', KEYS[5], field) == 1 then
    return true
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', whole(now - HOUR_MS))
  if redis.call('ZSCORE', KEYS[6], ARGV[15]) or redis.call('ZCARD', KEYS[6]) < tonumber(ARGV[16]) then
    return false
  end
  redis.call('HSET', KEYS[5], field, whole(now))
  redis.call('DEL', KEYS[6])
  return true
end

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
local call = redis.call('HMGET', KEYS[3], 'owner', 'gen', 'done', 'tick', 'paid_s', 'held', 'final', 'drawn')
if call[3] then
  return {'DONE'}
end
if call[1] then
  if fenced(call[1], call[2]) then
    return {'FENCED'}
  end
  return repeat_grant(KEYS[3], '0', call[4], call[5], call[6], call[7], call[8])
end

local account = redis.call('HMGET', KEYS[2], 'balance', 'held', 'calls', 'bucket_milli', 'bucket_ms')
local held, calls, now = tonumber(account[2] or 0), tonumber(account[3] or 0), now_ms()
local milli = nil
if ARGV[8] ~= '' and calls >= tonumber(ARGV[8]) and live_calls(calls, now) >= tonumber(ARGV[8]) then
  return {'LIMIT_CALLS', 'tenant'}
end
if ARGV[9] ~= '' then
  milli = take_token(tonumber(ARGV[9]), account[4], account[5], now)
  if not milli then
    return {'LIMIT_CALLS_PER_SECOND', 'tenant'}
  end
end

local terms = ARGV[12] == '' and NO_TERMS or read_terms(ARGV[12], ARGV[13])
for _, limit in ipairs(terms.live) do
  if tonumber(redis.call('HGET', KEYS[5], 'live ' .. limit.scope) or 0) >= limit.most then
    return {'LIMIT_CALLS', limit.scope}
  end
end

local buckets = {}
for _, limit in ipairs(terms.rate) do
  local level, filled_ms = string.match(redis.call('HGET', KEYS[5], 'bucket ' .. limit.scope) or '', '^(%d+) (%d+)$')
  local left = take_token(limit.most, level, filled_ms, now)
  if not left then
    return {'LIMIT_CALLS_PER_SECOND', limit.scope}
  end
  buckets['bucket ' .. limit.scope] = whole(left) .. ' ' .. whole(now)
end

if KEYS[6] and closed_range(now) then
  return {'LIMIT_VELOCITY', 'range/' .. ARGV[14]}
end

local balance, tariff = tonumber(account[1] or 0), ARGV[5]
local drawn, paid_s, cost, final, source, trimmed = {parts = {}, spent = {}, live = {}}, '', 0, 0, nil, nil
if tariff ~= '' or #terms.pools > 0 then
  paid_s, cost, source, trimmed = tick(tariff, terms, drawn.parts, KEYS[5], 0, tonumber(ARGV[6]), balance, held, 0)
  if not paid_s then
    return cost == 'ALERT' and {'ALERT', 'AVAILABLE_BELOW_ZERO'} or {cost, source}
  end
  final = trimmed and 1 or 0
end

redis.call('HSET', KEYS[3], 'owner', ARGV[2], 'gen', ARGV[3], 'tick', '0',
  'paid_s', paid_s == '' and '' or whole(paid_s), 'held', whole(cost), 'final', final, 'tariff', tariff,
  'lease_s', ARGV[7], 'adoption', ARGV[10], 'usage', ARGV[11])
local text = ''
if terms ~= NO_TERMS then
  for _, limit in ipairs(terms.live) do
    count(KEYS[5], 'live ' .. limit.scope, 1)
    table.insert(drawn.live, limit.scope)
  end
  text = draw(KEYS[5], terms, drawn, 0, paid_s == '' and 0 or paid_s, source, cost)
  redis.call('HSET', KEYS[3], 'terms', ARGV[12], 'drawn', text)
  for bucket, level in pairs(buckets) do
    redis.call('HSET', KEYS[5], bucket, level)
  end
end
if KEYS[6] then
  redis.call('ZADD', KEYS[6], whole(now), ARGV[15])
  redis.call('PEXPIRE', KEYS[6], HOUR_MS)
end
if milli then
  redis.call('HSET', KEYS[2], 'held', whole(held + cost), 'calls', whole(calls + 1),
    'bucket_milli', whole(milli), 'bucket_ms', whole(now))
else
  redis.call('HSET', KEYS[2], 'held', whole(held + cost), 'calls', whole(calls + 1))
end
redis.call('ZADD', KEYS[4], whole(now + ARGV[7] * 1000), ARGV[4])
return grant(paid_s, cost, final, text, balance + terms.credit - held - cost, calls + 1)
