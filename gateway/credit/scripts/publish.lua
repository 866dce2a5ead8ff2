-- Publish a version; it never goes back, whatever the order in which publishers come.
-- KEYS: directory
-- ARGV: version
local published = redis.call('GET', KEYS[1])
if not published or tonumber(published) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1])
end
return {'PUBLISHED'}
