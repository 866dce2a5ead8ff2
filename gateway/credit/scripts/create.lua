-- Give a tenant an account where it has none: the ledger's balance, and the number up to which money in is part of it.
-- Not fenced by the epoch: an account that is missing has nothing to lose, and it is made before the epoch opens.
-- KEYS: account
-- ARGV: balance_micros, seq
if redis.call('HEXISTS', KEYS[1], 'balance') == 1 then
  return {'EXISTS'}
end
redis.call('HSET', KEYS[1], 'balance', ARGV[1], 'applied', ARGV[2])
return {'CREATED'}
