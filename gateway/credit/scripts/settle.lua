-- An answered call is over: take the charge, give the rest back, append to the outbox, leave a marker.
-- A call that is neither reserved nor marked is refused, or a lost marker could charge twice (MONEY 3); only where
-- nothing is charged (an emergency call during an outage) is it recorded all the same.
-- KEYS: epoch, account, call, leases, outbox
-- ARGV: epoch, owner, generation, member, charge_micros, record
--@include amount
--@include fence
--@include close
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
local call = redis.call('HMGET', KEYS[3], 'owner', 'gen', 'done', 'held')
local charge = tonumber(ARGV[5])
if call[3] then
  return {'DONE'}
end
if call[1] then
  if fenced(call[1], call[2]) then
    return {'FENCED'}
  end
elseif charge ~= 0 then
  return {'UNKNOWN'}
end
local alert = close('settle', ARGV[4], call[1], ARGV[2], tonumber(call[4] or 0), charge, ARGV[6])
if alert then
  return {'ALERT', alert}
end
return {'CLOSED'}
