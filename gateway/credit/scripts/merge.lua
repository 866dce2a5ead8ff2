-- A worker says what it was granted, after Redis may have lost it (MONEY 6): merged by (call, tick), the furthest
-- wins; of one tick whoever granted more of it, for a worker may have granted it without Redis' answer (MONEY 8).
-- Then it was by money, and Redis, whose answer nobody heard, may have drawn minutes for it: the worker's word stands,
-- since that is what the call will be charged by, and the minutes go back.  It stands as well where Redis has not heard
-- of the answer, which fixed another tariff for what is held (lib/resolved.lua).
-- What was granted is held again even where available goes below 0: the talk is being had.
-- A call that is over is said in the same way, with its charge: the ledger may have that, and until it is known
-- whether it has, the money is held.  What has no lease is not counted as held, whatever is left of it.
-- KEYS: epoch, account, call, leases, said, counters
-- ARGV: epoch (open or rebuilding), owner, generation, member, tick, paid_s, held, final, tariff, lease_s,
--       answered_ms ('' unanswered), proven_s, grace_ms, adoption, usage, charge_micros ('' still live), owner from whom
--       the call was taken over ('' nobody) and below which generation: Redis may have forgotten that it was,
--       terms, drawn
--@include clock
--@include amount
--@include fence
--@include lease
--@include drawn
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
local call = redis.call('HMGET', KEYS[3], 'owner', 'gen', 'done', 'tick', 'held', 'clock_ms', 'proven_s', 'paid_s',
  'drawn', 'tariff')
local forgot = call[1] == ARGV[17] and tonumber(call[2] or 0) < tonumber(ARGV[18])
if call[1] and not (call[3] and ARGV[16] == '') and not forgot and fenced(call[1], call[2]) then
  return {'FENCED'}
end
if ARGV[16] ~= '' then
  redis.call('HSET', KEYS[5], ARGV[4], ARGV[16])
end
if call[3] then
  return {'DONE'}
end
local counted = call[1] and redis.call('ZSCORE', KEYS[4], ARGV[4])
local account = redis.call('HMGET', KEYS[2], 'held', 'calls')
local all_held, calls, held = tonumber(account[1] or 0), tonumber(account[2] or 0), tonumber(ARGV[7])
local now, clock_ms, paid_s = now_ms(), call[6], ARGV[6]
if held < 0 or all_held + held > MOST then
  return {'ALERT', 'HELD_OUT_OF_RANGE'}
end
redis.call('HSET', KEYS[3], 'owner', ARGV[2], 'gen', ARGV[3])
if not call[1] then
  redis.call('HSET', KEYS[3], 'lease_s', ARGV[10], 'adoption', ARGV[14], 'usage', ARGV[15])
  if ARGV[19] ~= '' then
    redis.call('HSET', KEYS[3], 'terms', ARGV[19])
  end
end
local drawn = call[9] or ''
local beyond = call[1] and tonumber(ARGV[5]) - tonumber(call[4])
local unheard = beyond == 0 and ARGV[11] ~= '' and not clock_ms and ARGV[9] ~= call[10]
if unheard then
  beyond = 1
elseif beyond == 0 and held <= tonumber(call[5]) then
  beyond = (tonumber(paid_s) or 0) - (tonumber(call[8]) or 0)
elseif beyond == 0 then
  beyond = 1
end
if not call[1] or beyond > 0 then
  redis.call('HSET', KEYS[3], 'tick', ARGV[5], 'paid_s', paid_s, 'held', whole(held), 'final', ARGV[8],
    'tariff', ARGV[9])
  drawn = ARGV[20]
else
  paid_s, held = call[8], tonumber(call[5])
end
if not counted or drawn ~= (call[9] or '') then
  if counted then
    count_drawn(KEYS[6], read_drawn(call[9]), -1)
  end
  count_drawn(KEYS[6], read_drawn(drawn), 1)
  if drawn ~= (call[9] or '') then
    redis.call('HSET', KEYS[3], 'drawn', drawn)
  end
end
all_held = all_held + held - (counted and tonumber(call[5]) or 0)
redis.call('HSET', KEYS[2], 'held', whole(all_held), 'calls', whole(counted and calls or calls + 1))
if ARGV[11] ~= '' then
  clock_ms = clock_ms or whole(now - ARGV[12] * 1000)
  local proven_s = math.max(tonumber(call[7] or 0), tonumber(ARGV[12]))
  if paid_s ~= '' then
    proven_s = math.min(proven_s, tonumber(paid_s))
  end
  redis.call('HSET', KEYS[3], 'answered_ms', ARGV[11], 'clock_ms', clock_ms, 'proven_s', whole(proven_s),
    'adoption', ARGV[14])
end
local lease = lease_end(now, clock_ms, paid_s, ARGV[10], ARGV[13])
redis.call('ZADD', KEYS[4], whole(math.max(lease, now + ARGV[13])), ARGV[4])
return {'MERGED'}
