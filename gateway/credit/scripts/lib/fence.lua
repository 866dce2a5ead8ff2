-- A call is changed only by its owner (node/slot) in the newest generation that the call has heard of (MONEY 5).  A
-- newer generation of the same slot takes the call over by its first request; from then on the older one is fenced.
local function fenced(owner, generation)
  return owner ~= ARGV[2] or tonumber(generation) > tonumber(ARGV[3])
end
