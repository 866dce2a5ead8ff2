-- An heir has taken over all that a worker slot left: the name is not looked at any more, until somebody claims it.
-- KEYS: owners
-- ARGV: node/slot, its epoch, heir (node/slot)
local claim = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local epoch, _, start, instance = string.match(claim, '^(%d+) (%d+) (%S+) (.*)$')
if epoch == ARGV[2] and start == 'heir:' .. ARGV[3] then
  redis.call('HSET', KEYS[1], ARGV[1], epoch .. ' 0 ' .. start .. ' ' .. instance)
  return 1
end
return 0
