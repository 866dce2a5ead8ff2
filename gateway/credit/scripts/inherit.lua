-- Find worker slots whose holder is gone for good, and take their names as heir (SIP.md 5): the epoch rises, so a holder
-- that wakes is fenced as a whole and says nothing, and only its restart may have the name again.  A name has one heir,
-- who hears it again until he says that nothing of it is left (inherited.lua); an heir that is gone too has heirs.
-- A slot that one's own installation does not have any more is gone at once: no two gates run in one data folder.
-- KEYS: owners
-- ARGV: heir (node/slot), how long a claim must have run out in ms, the heir's installation ('': it says nothing of its
--       slots), the slots (node/slot) that it has
-- Answers name, epoch, and when its claim ran out (Unix ms) of each.
--@include clock
--@include amount
local running = {}
for number = 4, #ARGV do
  running[ARGV[number]] = true
end
local now, claims, ends, answer = now_ms(), redis.call('HGETALL', KEYS[1]), {}, {}
for place = 1, #claims, 2 do
  ends[claims[place]] = tonumber(string.match(claims[place + 1], '^%d+ (%d+)'))
end
for place = 1, #claims, 2 do
  local name = claims[place]
  local epoch, until_ms, start, instance = string.match(claims[place + 1], '^(%d+) (%d+) (%S+) (.*)$')
  local heir, gone = string.match(start, '^heir:(.*)$'), tonumber(until_ms) + ARGV[2] < now
  local dropped = ARGV[3] ~= '' and instance == ARGV[3] and not running[name]
  if name ~= ARGV[1] and until_ms ~= '0' and (gone or dropped) then
    if heir ~= ARGV[1] and (not heir or (ends[heir] or 0) < now) then
      epoch = whole(tonumber(epoch) + 1)
      redis.call('HSET', KEYS[1], name, epoch .. ' ' .. until_ms .. ' heir:' .. ARGV[1] .. ' ' .. instance)
      heir = ARGV[1]
    end
    if heir == ARGV[1] then
      answer[#answer + 1] = {name, tonumber(epoch), until_ms}
    end
  end
end
return answer
