-- Accounts and outbox of a partition as they are in one instant.
-- KEYS: outbox, one account after the other
-- ARGV: the fields of an account
-- Answers the entries of the outbox, then the fields of each account in their order.
local answer = {redis.call('XRANGE', KEYS[1], '-', '+')}
for number = 2, #KEYS do
  answer[number] = redis.call('HMGET', KEYS[number], unpack(ARGV))
end
return answer
