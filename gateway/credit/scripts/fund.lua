-- Money in, already booked in the ledger under this sequence number: applied once, in rising order (MONEY 4).
-- KEYS: epoch, account
-- ARGV: epoch, seq, amount_micros
--@include amount
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
local account = redis.call('HMGET', KEYS[2], 'balance', 'held', 'applied')
local balance, held, amount = tonumber(account[1] or 0), tonumber(account[2] or 0), tonumber(ARGV[3])
if tonumber(ARGV[2]) <= tonumber(account[3] or 0) then
  return {'REPEATED', balance, held}
end
if amount < 0 or balance + amount > MOST then
  return {'ALERT', 'BALANCE_OUT_OF_RANGE'}
end
redis.call('HSET', KEYS[2], 'balance', whole(balance + amount), 'applied', ARGV[2])
return {'APPLIED', balance + amount, held}
