-- A grant is remembered and repeated word for word (MONEY 2, 3): the last one in the fields tick, paid_s, held and
-- final of the call, earlier ones in g<tick>.  An owner has one request of a call under way, so KEPT earlier ones
-- are many; a request older than that hears what is granted by now.
local KEPT = 16

-- A grant tells what the call has drawn by now; one that is new also what is available after it and how many calls live: for as long as Redis cannot be reached
-- this is what was seen last (MONEY 8).
local function grant(paid_s, held, final, drawn, available, calls)
  if paid_s == '' then
    paid_s = -1
  end
  return {'GRANT', tonumber(paid_s), tonumber(held), tonumber(final), drawn or '', available, calls}
end

local function repeat_grant(call, asked, tick, paid_s, held, final, drawn)
  if asked ~= tick then
    local earlier = redis.call('HGET', call, 'g' .. asked)
    if earlier then
      paid_s, held, final = string.match(earlier, '^(%S*) (%d+) (%d)$')
    end
  end
  return grant(paid_s, held, final, drawn)
end

local function remember_grant(call, tick, paid_s, held, final)
  redis.call('HSET', call, 'g' .. tick, paid_s .. ' ' .. held .. ' ' .. final)
  if tonumber(tick) >= KEPT then
    redis.call('HDEL', call, 'g' .. whole(tick - KEPT))
  end
end
