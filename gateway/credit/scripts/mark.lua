-- The ledger has this charge: the call is over in Redis too, whatever is left of it there, and nothing is taken (MONEY 6).
-- Where the ledger has only what a sweep charged, the marker says so: its owner's charge takes what is above that.
-- In a rebuild a marker that stands there already is replaced, for it may be of what was lost; else it is right.
-- KEYS: epoch, account, call, leases, said, counters
-- ARGV: epoch (counting or open), member, done ('booked' or 'sweep'), charge_micros, talk_s, keep_s
--@include amount
--@include drawn
local epoch = redis.call('GET', KEYS[1])
if epoch ~= ARGV[1] then
  return {'STALE'}
end
local call = redis.call('HMGET', KEYS[3], 'owner', 'gen', 'done', 'held', 'tariff', 'drawn')
local counting = string.find(epoch, ' ', 1, true)
redis.call('HDEL', KEYS[5], ARGV[2])
if call[3] and not counting then
  return {'DONE'}
end
if call[1] and not call[3] and redis.call('ZREM', KEYS[4], ARGV[2]) == 1 then
  local account = redis.call('HMGET', KEYS[2], 'held', 'calls')
  redis.call('HSET', KEYS[2], 'held', whole(math.max(0, tonumber(account[1] or 0) - tonumber(call[4]))),
    'calls', whole(math.max(0, tonumber(account[2] or 0) - 1)))
  count_drawn(KEYS[6], read_drawn(call[6]), -1)
end
redis.call('DEL', KEYS[3])
if ARGV[3] == 'sweep' and call[1] then
  redis.call('HSET', KEYS[3], 'done', 'sweep', 'owner', call[1], 'gen', call[2], 'charge', ARGV[4],
    'talk_s', ARGV[5], 'tariff', call[5] or '', 'drawn', call[6] or '')
else
  redis.call('HSET', KEYS[3], 'done', 'booked')
end
redis.call('EXPIRE', KEYS[3], ARGV[6])
return {'MARKED'}
