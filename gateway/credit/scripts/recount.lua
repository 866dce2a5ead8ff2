-- A rebuild sets a tenant's counters: minutes used and money spent by the ledger, and what the reservations have drawn.
-- KEYS: epoch, counters
-- ARGV: epoch (counting), field and value of each counter
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
  if string.sub(field, 1, 7) ~= 'closed ' then -- a range that was closed stays closed
    redis.call('HDEL', KEYS[2], field)
  end
end
for place = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[place], ARGV[place + 1])
end
return {'RECOUNTED'}
