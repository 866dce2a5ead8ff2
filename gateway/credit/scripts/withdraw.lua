-- Money out: at most what is available leaves the balance, then the outbox tells the ledger (MONEY 4).
-- The same id takes once and hears the same answer; where nothing is available nothing is remembered.  What was taken
-- in an earlier epoch is forgotten: since then the balance was made anew from the ledger, which knows of it or does not.
-- KEYS: epoch, account, withdrawal, outbox
-- ARGV: epoch, member 'ID TENANT', amount_micros, '1' where less than all of it shall not be taken, record
--@include amount
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
local account = redis.call('HMGET', KEYS[2], 'balance', 'held')
local balance, held = tonumber(account[1] or 0), tonumber(account[2] or 0)
local before = redis.call('HMGET', KEYS[3], 'taken', 'epoch')
if before[2] == ARGV[1] then
  return {'TAKEN', tonumber(before[1]), balance, tonumber(ARGV[1])}
end
local taken = math.min(tonumber(ARGV[3]), balance - held)
if taken <= 0 or (ARGV[4] == '1' and taken < tonumber(ARGV[3])) then
  return {'TAKEN', 0, balance, tonumber(ARGV[1])}
end
redis.call('HSET', KEYS[2], 'balance', whole(balance - taken))
redis.call('HSET', KEYS[3], 'taken', whole(taken), 'epoch', ARGV[1])
redis.call('XADD', KEYS[4], '*', 'kind', 'withdraw', 'call', ARGV[2], 'charge', whole(taken), 'record', ARGV[5],
  'owner', '')
return {'TAKEN', taken, balance - taken, tonumber(ARGV[1])}
