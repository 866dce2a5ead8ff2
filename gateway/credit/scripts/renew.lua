-- Reserve the next tick.  It starts where the call is paid to, whatever the asker believes: a grant that was lost
-- is made good by the next one, and an order of requests other than rising costs nothing twice (MONEY 3).
-- KEYS: epoch, account, call, leases, counters
-- ARGV: epoch, owner, generation, member, tick, end_s, proven_s, grace_ms, hour in the tenant's time zone ('' without
--       terms), tariff and paid_s of the first tick as the answer has fixed them ('' as reserved)
--@include clock
--@include amount
--@include fence
--@include lease
--@include price
--@include grant
--@include drawn
--@include terms
--@include resolved
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
local call = redis.call('HMGET', KEYS[3], 'owner', 'gen', 'done', 'tick', 'paid_s', 'held', 'final', 'tariff',
  'lease_s', 'clock_ms', 'proven_s', 'terms', 'drawn')
if call[3] then
  return {'DONE'}
end
if not call[1] then
  return {'UNKNOWN'}
end
if fenced(call[1], call[2]) then
  return {'FENCED'}
end
if tonumber(ARGV[5]) <= tonumber(call[4]) then
  return repeat_grant(KEYS[3], ARGV[5], call[4], call[5], call[6], call[7], call[13])
end

local terms = (call[12] or '') == '' and NO_TERMS or read_terms(call[12], ARGV[9])
local tariff, paid_s, text = resolve(KEYS[3], call[8], call[4], call[5], call[13], ARGV[10], ARGV[11])
local before_s, held, final = paid_s, tonumber(call[6]), 0
local proven_s = math.max(tonumber(call[11] or 0), tonumber(ARGV[7]))
local left, calls = nil, nil
if paid_s ~= '' then
  local account = redis.call('HMGET', KEYS[2], 'balance', 'held', 'calls')
  local balance, all_held = tonumber(account[1] or 0), tonumber(account[2] or 0)
  local start_s, wanted_s = tonumber(paid_s), tonumber(ARGV[6])
  if wanted_s > start_s then
    local drawn = read_drawn(text)
    local end_s, cost, source, trimmed = tick(tariff, terms, drawn.parts, KEYS[5], start_s, wanted_s, balance,
      all_held, held)
    if not end_s then
      return cost == 'ALERT' and {'ALERT', 'AVAILABLE_BELOW_ZERO'} or {cost, source}
    end
    final, held, paid_s = trimmed and 1 or 0, held + cost, whole(end_s)
    redis.call('HSET', KEYS[2], 'held', whole(all_held + cost))
    if terms ~= NO_TERMS then
      text = draw(KEYS[5], terms, drawn, start_s, end_s, source, cost)
      redis.call('HSET', KEYS[3], 'drawn', text)
    end
    left, calls = balance + terms.credit - all_held - cost, tonumber(account[3] or 0)
  end
  proven_s = math.min(proven_s, tonumber(paid_s))
end

remember_grant(KEYS[3], call[4], before_s, call[6], call[7])
redis.call('HSET', KEYS[3], 'gen', ARGV[3], 'tick', ARGV[5], 'paid_s', paid_s, 'held', whole(held), 'final', final,
  'proven_s', whole(proven_s))
redis.call('ZADD', KEYS[4], whole(lease_end(now_ms(), call[10], paid_s, call[9], ARGV[8])), ARGV[4])
return grant(paid_s, held, final, text, left, calls)
