-- A spending limit is released: its counter of this hour, day or month starts anew with what live calls hold.  What was
-- taken off stands in 'released SCOPE LABEL', all of it: the ledger takes it off its own count, however often it is told.
-- A call may begin between the asker's look and this moment: then it asks again, or what that call holds would be lost.
-- KEYS: epoch, counters, leases, and each live call of the tenant
-- ARGV: epoch, tenant, 'SCOPE/PERIOD LABEL', and the member 'ID TENANT' of each of those calls
--@include amount
--@include drawn
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'STALE'}
end
local seen, held = {}, 0
for place = 4, #ARGV do
  seen[ARGV[place]] = true
end
for _, member in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  if not seen[member] and string.match(member, '^%S+ (.*)$') == ARGV[2] then
    return {'AGAIN'}
  end
end
for place = 4, #KEYS do
  local call = redis.call('HMGET', KEYS[place], 'done', 'drawn')
  for _, spent in ipairs(call[1] and {} or read_drawn(call[2]).spent) do
    held = held + (spent.bucket == ARGV[3] and spent.micros or 0)
  end
end
local counted = tonumber(redis.call('HGET', KEYS[2], 'spent ' .. ARGV[3]) or 0)
local released = math.max(0, counted - held)
count(KEYS[2], 'spent ' .. ARGV[3], -released)
count(KEYS[2], 'released ' .. ARGV[3], released)
return {'ANEW', released, tonumber(redis.call('HGET', KEYS[2], 'released ' .. ARGV[3]) or 0)}
