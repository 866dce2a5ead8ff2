-- An answered call is over: take the charge, give the rest back, append to the outbox, leave a marker.
-- A call that is neither reserved nor marked is refused, or a lost marker could charge twice (MONEY 3); only where
-- nothing is charged (an emergency call during an outage) is it recorded all the same.
-- A call that was swept while its owner could not be heard: what it costs above what the sweep took is one more charge,
-- id (call, "late"), from the balance, even where available goes below 0: the talk was had (MONEY 1, 5).
-- A charge that was made before a rebuild is doubtful: the ledger may have it.  It is taken once the rebuild, or the
-- settler after it, has cleared it in this epoch (clear.lua); where the ledger has it, a marker says BOOKED (mark.lua).
-- KEYS: epoch, account, call, leases, outbox, said, counters
-- ARGV: epoch, owner, generation, member, charge_micros, record, '1' where it is doubtful,
--       talk_s (begun seconds count whole)
--@include amount
--@include fence
--@include drawn
--@include close
-- Returns an alert code where an invariant would break; nothing has been written then.
local function charge_late(swept, talk_s, tariff, drawn, charge)
  local late, balance = math.max(0, charge - swept), tonumber(redis.call('HGET', KEYS[2], 'balance') or 0)
  if charge < 0 then
    return 'CHARGE_BELOW_ZERO'
  end
  if balance - late < -MOST then
    return 'BALANCE_OUT_OF_RANGE'
  end
  redis.call('DEL', KEYS[3])
  redis.call('HSET', KEYS[3], 'done', 'settle')
  if late > 0 then
    redis.call('HSET', KEYS[2], 'balance', whole(balance - late))
  end
  local entry = {'kind', 'late', 'call', ARGV[4], 'charge', whole(late), 'record', ARGV[6], 'owner', ARGV[2],
    'talk_s', talk_s, 'tariff', tariff, 'drawn', drawn or ''}
  if (drawn or '') ~= '' then
    use_drawn(KEYS[7], read_drawn(drawn), tonumber(ARGV[8]), swept + late, tonumber(talk_s), swept, entry)
  end
  redis.call('XADD', KEYS[5], '*', unpack(entry))
  return nil
end

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
local call = redis.call('HMGET', KEYS[3], 'owner', 'gen', 'done', 'held', 'charge', 'talk_s', 'tariff', 'cleared',
  'drawn')
local charge = tonumber(ARGV[5])
if call[3] == 'sweep' and not fenced(call[1], call[2]) then
  local alert = charge_late(tonumber(call[5]), call[6], call[7], call[9], charge)
  if alert then
    return {'ALERT', alert}
  end
  redis.call('HDEL', KEYS[6], ARGV[4])
  return {'CLOSED'}
end
if call[3] then
  if ARGV[7] == '1' then
    redis.call('HDEL', KEYS[6], ARGV[4])
  end
  return {call[3] == 'booked' and 'BOOKED' or 'DONE'}
end
if call[1] then
  if fenced(call[1], call[2]) then
    return {'FENCED'}
  end
elseif ARGV[7] == '1' then
  return {'DOUBT'}
elseif charge ~= 0 then
  return {'UNKNOWN'}
end
if ARGV[7] == '1' then
  if call[8] ~= ARGV[1] then
    return {'DOUBT'}
  end
  redis.call('HDEL', KEYS[6], ARGV[4])
end
local alert = close('settle', ARGV[4], call[1], ARGV[2], tonumber(call[4] or 0), charge, ARGV[6], KEYS[7], call[9],
  tonumber(ARGV[8]))
if alert then
  return {'ALERT', alert}
end
return {'CLOSED'}
