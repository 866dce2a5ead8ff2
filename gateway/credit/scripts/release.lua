-- A call that was never answered is over: everything held goes back.  A call that is not known leaves its marker all
-- the same, so that its reservation, if it comes late, is refused (MONEY 3).
-- KEYS: epoch, account, call, leases, outbox, counters
-- ARGV: epoch, owner, generation, member, record
--@include amount
--@include fence
--@include drawn
--@include close
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
local call = redis.call('HMGET', KEYS[3], 'owner', 'gen', 'done', 'held', 'drawn')
if call[3] then
  return {call[3] == 'booked' and 'BOOKED' or 'DONE'}
end
if call[1] and fenced(call[1], call[2]) then
  return {'FENCED'}
end
local alert = close('release', ARGV[4], call[1], ARGV[2], tonumber(call[4] or 0), 0, ARGV[5], KEYS[6], call[5], 0)
if alert then
  return {'ALERT', alert}
end
return {'CLOSED'}
