-- The ledger does not have this charge: it may be taken in this epoch (settle.lua).  In a rebuild a marker goes: what it
-- stood for was lost on its way to the ledger.  Without one a charge that is marked is on its way, and stays.
-- KEYS: epoch, call, said
-- ARGV: epoch (counting or open), number of the epoch, member, keep_s
local epoch = redis.call('GET', KEYS[1])
if epoch ~= ARGV[1] then
  return {'STALE'}
end
local call = redis.call('HMGET', KEYS[2], 'owner', 'done')
redis.call('HDEL', KEYS[3], ARGV[3])
if call[2] then
  if not string.find(epoch, ' ', 1, true) then
    return {'DONE'}
  end
  redis.call('DEL', KEYS[2])
end
redis.call('HSET', KEYS[2], 'cleared', ARGV[2])
if call[2] or not call[1] then
  redis.call('EXPIRE', KEYS[2], ARGV[4])
end
return {'CLEARED'}
