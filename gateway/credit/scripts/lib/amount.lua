-- Amounts are whole doubles below 2^53, where doubles are exact.  They are written with this format only: tostring
-- and .. keep 14 digits (123456789012345 becomes 1.2345678901234e+14, MONEY 3).
local MOST = 9007199254740990

local function whole(amount)
  return string.format('%.0f', amount)
end
