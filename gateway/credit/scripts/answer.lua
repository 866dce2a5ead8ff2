-- The called side answered: the lease now follows paid-until, and the call can be adopted (SIP.md 5 b).
-- KEYS: epoch, call, leases
-- ARGV: epoch, owner, generation, member, answered_ms (Unix, the gate's clock), grace_ms, adoption,
--       tariff and paid_s of the first tick ('' as reserved)
--@include clock
--@include amount
--@include fence
--@include lease
--@include resolved
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
local call = redis.call('HMGET', KEYS[2], 'owner', 'gen', 'done', 'clock_ms', 'paid_s', 'lease_s', 'tick', 'tariff', 'drawn')
if call[3] then
  return {'DONE'}
end
if not call[1] then
  return {'UNKNOWN'}
end
if fenced(call[1], call[2]) then
  return {'FENCED'}
end
if call[4] then
  return {'WRITTEN'}
end
local now = now_ms()
local _, paid_s = resolve(KEYS[2], call[8], call[7], call[5], call[9], ARGV[8], ARGV[9])
redis.call('HSET', KEYS[2], 'gen', ARGV[3], 'answered_ms', ARGV[5], 'clock_ms', whole(now), 'adoption', ARGV[7])
redis.call('ZADD', KEYS[3], whole(lease_end(now, now, paid_s, call[6], ARGV[6])), ARGV[4])
return {'WRITTEN'}
