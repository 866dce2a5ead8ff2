-- Move a partition's epoch from what the asker believes ('' none yet) to another value (MONEY 6).
-- KEYS: epoch, opened
-- ARGV: believed, new
--@include clock
--@include amount
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return {'STALE'}
end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], whole(now_ms()))
return {'OPENED'}
