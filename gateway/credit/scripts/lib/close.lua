-- The end of a call, once: the charge leaves the balance, the rest of what was held goes back, the call becomes a
-- marker, its lease goes, and its record enters the outbox together with the charge.
--
-- KEYS: epoch, account, call, leases, outbox.  known: the call has a reservation.  owner: the worker that keeps the
-- charge until it is booked.  drawn: what the call has drawn of the tenant's counters, of which talk_s was used.  Returns an alert code where an invariant would break; nothing has been written then.
local function close(kind, member, known, owner, held, charge, record, counters, drawn, talk_s, ...)
  local account = redis.call('HMGET', KEYS[2], 'balance', 'held', 'calls')
  local balance, all_held, calls = tonumber(account[1] or 0), tonumber(account[2] or 0), tonumber(account[3] or 0)
  if charge < 0 or charge > held then
    return 'CHARGE_ABOVE_HELD'
  end
  if held > all_held then
    return 'HELD_ABOVE_ACCOUNT'
  end
  if balance - charge < -MOST then
    return 'BALANCE_OUT_OF_RANGE'
  end
  if known then
    redis.call('HSET', KEYS[2], 'balance', whole(balance - charge), 'held', whole(all_held - held),
      'calls', whole(math.max(0, calls - 1)))
    redis.call('DEL', KEYS[3])
    redis.call('ZREM', KEYS[4], member)
  end
  redis.call('HSET', KEYS[3], 'done', kind)
  local entry = {'kind', kind, 'call', member, 'charge', whole(charge), 'record', record, 'owner', owner, ...}
  if known and (drawn or '') ~= '' then
    local read = read_drawn(drawn)
    count_drawn(counters, read, -1)
    use_drawn(counters, read, talk_s, charge, 0, 0, entry)
  end
  redis.call('XADD', KEYS[5], '*', unpack(entry))
  return nil
end
