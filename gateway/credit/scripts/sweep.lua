-- Close a call whose lease has run out: charged up to its last proven moment, released where never answered (MONEY 5).
-- For quiet_ms after a change of the epoch nothing is swept: its owner may not have been heard yet.  The marker remembers
-- what was charged and whose the call was: a charge that is heard later takes only what is above it (settle.lua).
-- KEYS: epoch, account, call, leases, outbox, opened, counters
-- ARGV: epoch, member, quiet_ms
--@include clock
--@include amount
--@include price
--@include drawn
--@include close
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
local now, lease = now_ms(), redis.call('ZSCORE', KEYS[4], ARGV[2])
if now - tonumber(redis.call('GET', KEYS[6]) or now) < tonumber(ARGV[3]) then
  return {'EARLY'}
end
if not lease or tonumber(lease) > now then
  return {'ALIVE'}
end
local call = redis.call('HMGET', KEYS[3], 'owner', 'held', 'tariff', 'clock_ms', 'answered_ms', 'proven_s', 'usage',
  'gen', 'drawn')
if not call[1] then
  redis.call('ZREM', KEYS[4], ARGV[2])
  return {'GONE'}
end
local charge, talk_s = 0, 0
if call[4] then
  talk_s = tonumber(call[6] or 0)
  local parts = read_drawn(call[9]).parts
  local money_s = money_talk(parts, talk_s)
  if call[3] ~= '' and money_s then
    charge = price(money_tariff(read_tariff(call[3]), parts), money_s)
  end
end
local alert = close('sweep', ARGV[2], true, call[1], tonumber(call[2]), charge, call[7], KEYS[7], call[9],
  talk_s, 'tariff', call[3], 'answered_ms', call[5] or '0', 'talk_s', whole(talk_s),
  'drawn', call[9] or '')
if alert then
  return {'ALERT', alert}
end
redis.call('HSET', KEYS[3], 'owner', call[1], 'gen', call[8], 'charge', whole(charge), 'talk_s', whole(talk_s),
  'tariff', call[3], 'drawn', call[9] or '')
return {'SWEPT', charge}
