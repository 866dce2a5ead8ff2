-- Where a price changes while a call rings, the answer says by which tariff the call is charged and up to when what is
-- held for the first tick pays by it (rating.schedule).  Both come with the answer and again with every renewal, for
-- the answer may never have arrived; said again they change nothing.  Empty texts: as it was reserved.
--
-- Answers tariff, paid_s and drawn as they are now.
local function resolve(call, known, tick, paid_s, drawn, tariff, first_paid_s)
  if tariff == '' or tariff == known then
    return known, paid_s, drawn
  end
  redis.call('HSET', call, 'tariff', tariff)
  if first_paid_s ~= '' and tick == '0' then
    paid_s = first_paid_s
    redis.call('HSET', call, 'paid_s', paid_s)
    if drawn and drawn ~= '' then
      drawn = string.gsub(drawn, '^money %d+', 'money ' .. first_paid_s)
      redis.call('HSET', call, 'drawn', drawn)
    end
  end
  return tariff, paid_s, drawn
end
