-- Give a tenant an account where it has none: the ledger's balance, and the number up to which money in is part of it.
-- KEYS: epoch, account
-- ARGV: epoch, balance_micros, seq
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
if redis.call('HEXISTS', KEYS[2], 'balance') == 1 then
  return {'EXISTS'}
end
redis.call('HSET', KEYS[2], 'balance', ARGV[2], 'applied', ARGV[3])
return {'CREATED'}
