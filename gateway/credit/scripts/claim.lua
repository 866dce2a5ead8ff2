-- Claim a worker slot, or keep the claim.  One start of a process holds a slot; its epoch rises with each start, and
-- an older start that comes back is fenced; INHERITED says that no newer start but an heir of its calls has fenced it
-- (inherit.lua).  Another installation is refused while the holder lives (SIP.md 1).
-- KEYS: owners
-- ARGV: node/slot, instance, start (a text of this start alone), epoch this start has claimed (0 none yet), ttl_ms
--@include clock
--@include amount
local known, now = tonumber(ARGV[4]), now_ms()
local stored = redis.call('HGET', KEYS[1], ARGV[1])
local epoch, until_ms, start, instance = 0, 0, '', ''
if stored then
  epoch, until_ms, start, instance = string.match(stored, '^(%d+) (%d+) (%S+) (.*)$')
  epoch, until_ms = tonumber(epoch), tonumber(until_ms)
end
if start ~= ARGV[3] then
  if known > 0 and epoch >= known then
    local heir = string.match(start, '^heir:(.*)$')
    return heir and {'INHERITED', epoch, heir} or {'FENCED', epoch}
  end
  if known == 0 and until_ms > now and instance ~= ARGV[2] then
    return {'TAKEN', epoch, instance}
  end
  epoch = math.max(known, epoch + 1)
end
redis.call('HSET', KEYS[1], ARGV[1], whole(epoch) .. ' ' .. whole(now + ARGV[5]) .. ' ' .. ARGV[3] .. ' ' .. ARGV[2])
return {'CLAIMED', epoch}
