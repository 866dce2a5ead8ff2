-- The end of a call's lease: paid-until plus grace once it is answered and paid for, else lease_s from now.
-- answered_at is Redis' moment of the answer, so no clock of a gate takes part.
local function lease_end(now, answered_at, paid_s, lease_s, grace_ms)
  if answered_at and paid_s and paid_s ~= '' then
    return tonumber(answered_at) + paid_s * 1000 + grace_ms
  end
  return now + lease_s * 1000
end
