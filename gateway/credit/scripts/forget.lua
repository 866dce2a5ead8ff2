-- The ledger has committed these entries of one outbox: they go.  The last of them is noted, so that a Redis that lacks
-- both is known to lack writes (MONEY 6), and the markers of their calls live so much longer (MONEY 3).
-- KEYS: outbox, booked, the marker of each entry
-- ARGV: id of the last entry, keep_s, the id of each entry
redis.call('SET', KEYS[2], ARGV[1])
for place = 3, #KEYS do
  redis.call('EXPIRE', KEYS[place], ARGV[2])
end
redis.call('XDEL', KEYS[1], unpack(ARGV, 3))
return {'FORGOTTEN'}
