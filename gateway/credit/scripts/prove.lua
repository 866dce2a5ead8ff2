-- The call lives, or its dialogs changed (SIP.md 5 c): proven talk only rises and never passes paid-until.
-- KEYS: epoch, call, leases
-- ARGV: epoch, owner, generation, member, proven_s, grace_ms, adoption ('' unchanged)
--@include clock
--@include amount
--@include fence
--@include lease
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
local call = redis.call('HMGET', KEYS[2], 'owner', 'gen', 'done', 'paid_s', 'proven_s', 'lease_s', 'clock_ms')
if call[3] then
  return {'DONE'}
end
if not call[1] then
  return {'UNKNOWN'}
end
if fenced(call[1], call[2]) then
  return {'FENCED'}
end
local proven_s = math.max(tonumber(call[5] or 0), tonumber(ARGV[5]))
if call[4] ~= '' then
  proven_s = math.min(proven_s, tonumber(call[4]))
end
redis.call('HSET', KEYS[2], 'gen', ARGV[3], 'proven_s', whole(proven_s))
if ARGV[7] ~= '' then
  redis.call('HSET', KEYS[2], 'adoption', ARGV[7])
end
redis.call('ZADD', KEYS[3], whole(lease_end(now_ms(), call[7], call[4], call[6], ARGV[6])), ARGV[4])
return {'WRITTEN'}
