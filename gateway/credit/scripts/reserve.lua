-- Reserve the first tick of a call: limits, then money; a refusal leaves no trace (MONEY 2, 3).
-- KEYS: epoch, account, call, leases
-- ARGV: epoch, owner, generation, member 'ID TENANT', tariff ('' where nobody pays), end_s, lease_s,
--       max_calls ('' unlimited), calls_per_second ('' unlimited), adoption, usage
--@include clock
--@include amount
--@include fence
--@include price
--@include grant
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

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
local call = redis.call('HMGET', KEYS[3], 'owner', 'gen', 'done', 'tick', 'paid_s', 'held', 'final')
if call[3] then
  return {'DONE'}
end
if call[1] then
  if fenced(call[1], call[2]) then
    return {'FENCED'}
  end
  return repeat_grant(KEYS[3], '0', call[4], call[5], call[6], call[7])
end

local account = redis.call('HMGET', KEYS[2], 'balance', 'held', 'calls', 'bucket_milli', 'bucket_ms')
local held, calls, now = tonumber(account[2] or 0), tonumber(account[3] or 0), now_ms()
local milli = nil
if ARGV[8] ~= '' and calls >= tonumber(ARGV[8]) and live_calls(calls, now) >= tonumber(ARGV[8]) then
  return {'LIMIT_CALLS'}
end
if ARGV[9] ~= '' then
  milli = take_token(tonumber(ARGV[9]), account[4], account[5], now)
  if not milli then
    return {'LIMIT_CALLS_PER_SECOND'}
  end
end

local paid_s, cost, final = '', 0, 0
if ARGV[5] ~= '' then
  local balance, end_s = tonumber(account[1] or 0), tonumber(ARGV[6])
  local tariff, available = read_tariff(ARGV[5]), balance - held
  paid_s = balance > 0 and affordable_end(tariff, 0, end_s, available)
  if not paid_s then
    return {'NO_CREDIT'}
  end
  cost = price(tariff, paid_s)
  if cost < 0 or cost > available or held + cost > MOST then
    return {'ALERT', 'AVAILABLE_BELOW_ZERO'}
  end
  final = paid_s < end_s and 1 or 0
  paid_s = whole(paid_s)
end

redis.call('HSET', KEYS[3], 'owner', ARGV[2], 'gen', ARGV[3], 'tick', '0', 'paid_s', paid_s, 'held', whole(cost),
  'final', final, 'tariff', ARGV[5], 'lease_s', ARGV[7], 'adoption', ARGV[10], 'usage', ARGV[11])
if milli then
  redis.call('HSET', KEYS[2], 'held', whole(held + cost), 'calls', whole(calls + 1),
    'bucket_milli', whole(milli), 'bucket_ms', whole(now))
else
  redis.call('HSET', KEYS[2], 'held', whole(held + cost), 'calls', whole(calls + 1))
end
redis.call('ZADD', KEYS[4], whole(now + ARGV[7] * 1000), ARGV[4])
return grant(paid_s, cost, final, tonumber(account[1] or 0) - held - cost, calls + 1)
