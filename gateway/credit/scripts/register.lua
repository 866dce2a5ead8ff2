-- Put one text in place of another (gateway.credit.registrations): only where what stands there is what was read.
-- KEYS: the registration.  ARGV: what was read (empty: nothing), what follows (empty: nothing), its life in ms.
local found = redis.call('HGET', KEYS[1], 'bindings') or ''
if found ~= ARGV[1] then
  return {'OTHER', found}
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'bindings', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return {'PUT', ARGV[2]}
