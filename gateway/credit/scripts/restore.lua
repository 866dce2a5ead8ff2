-- A rebuild sets an account: the ledger's balance and last sequence number, and what the reservations hold (MONEY 6).
-- KEYS: epoch, account
-- ARGV: epoch (counting), balance_micros, held_micros, calls, seq
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
redis.call('HSET', KEYS[2], 'balance', ARGV[2], 'held', ARGV[3], 'calls', ARGV[4], 'applied', ARGV[5])
return {'RESTORED'}
