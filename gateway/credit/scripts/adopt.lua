-- Take over calls that an older start of one's own slot left behind, or another slot that is gone for good (SIP.md 5).
-- Fencing and reading are one step: what the older process still says is refused from here on, so what is read stays as
-- it is, and of several gates that try a call is one's.  The lease is drawn out to the grace at least, or a sweep could
-- close a call before its new owner asks for anything.  Repeated it answers the same, also where an answer was lost.
-- KEYS: epoch, leases, one call after the other
-- ARGV: epoch, owner and generation whose calls are taken (with their older generations), grace_ms, owner and generation
--       that take them (the same ones in one's own slot), the member of each call
-- Answers the calls in their order: tick, paid_s, held, final, tariff, lease_s, answered_ms, proven_s, usage, adoption,
-- terms, drawn;
-- nothing for a call that is another's, a newer start's, over or gone.
--@include clock
--@include amount
--@include fence
--@include lease
local FIRST = 7

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
local answer, now = {'ADOPTED'}, now_ms()
for number = 3, #KEYS do
  local call = redis.call('HMGET', KEYS[number], 'owner', 'gen', 'done', 'clock_ms', 'tick', 'paid_s', 'held', 'final',
    'tariff', 'lease_s', 'answered_ms', 'proven_s', 'usage', 'adoption', 'terms', 'drawn')
  local taken = call[1] == ARGV[5] and tonumber(call[2]) <= tonumber(ARGV[6])
  if not call[1] or call[3] or (fenced(call[1], call[2]) and not taken) then
    answer[number - 1] = false
  else
    local lease = lease_end(now, call[4], call[6], call[10], ARGV[4])
    redis.call('HSET', KEYS[number], 'owner', ARGV[5], 'gen', ARGV[6])
    redis.call('ZADD', KEYS[2], whole(math.max(lease, now + ARGV[4])), ARGV[FIRST + number - 3])
    answer[number - 1] = {unpack(call, 5, 16)}
  end
end
return answer
