-- A rebuild remembers a withdrawal that the ledger has: said again in the new epoch it takes nothing.
-- KEYS: epoch, withdrawal
-- ARGV: epoch (counting), number of the epoch, taken_micros, keep_s
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
redis.call('HSET', KEYS[2], 'taken', ARGV[3], 'epoch', ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return {'REMEMBERED'}
