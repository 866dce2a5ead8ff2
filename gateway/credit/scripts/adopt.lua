-- Take over calls of one's own slot that an older start of it left behind (SIP.md 5).  Fencing and reading are one
-- step: what the older process still says is refused from here on, so what is read stays as it is.  The lease is drawn
-- out to the grace at least, or a sweep could close a call before its new owner asks for anything.  Repeated it answers
-- the same.
-- KEYS: epoch, leases, one call after the other
-- ARGV: epoch, owner, generation, grace_ms, the member of each call
-- Answers the calls in their order: tick, paid_s, held, final, tariff, lease_s, answered_ms, proven_s, usage, adoption;
-- nothing for a call that is another's, a newer start's, over or gone.
--@include clock
--@include amount
--@include fence
--@include lease
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
local answer, now = {'ADOPTED'}, now_ms()
for number = 3, #KEYS do
  local call = redis.call('HMGET', KEYS[number], 'owner', 'gen', 'done', 'clock_ms', 'tick', 'paid_s', 'held', 'final',
    'tariff', 'lease_s', 'answered_ms', 'proven_s', 'usage', 'adoption')
  if not call[1] or call[3] or fenced(call[1], call[2]) then
    answer[number - 1] = false
  else
    local lease = lease_end(now, call[4], call[6], call[10], ARGV[4])
    redis.call('HSET', KEYS[number], 'gen', ARGV[3])
    redis.call('ZADD', KEYS[2], whole(math.max(lease, now + ARGV[4])), ARGV[number + 2])
    answer[number - 1] = {unpack(call, 5)}
  end
end
return answer
