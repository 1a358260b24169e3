#!lua
-- Add what an API process has counted of principals' requests to what all have, and tell what that is now.
-- KEYS[1] the epoch pointer. ARGV: prefix, then for each principal: its name, how many requests to add.
-- The counts end with their hash: some time after the last request, or when it has very many principals. Callers tell
-- that by a count that has become lower.
-- Returns the count of each. Cost: O(principals).
local prefix, totals = ARGV[1], {}
local counts = prefix .. 'requests'
if redis.call('HLEN', counts) > 20000 then redis.call('DEL', counts) end
for i = 2, #ARGV, 2 do
  totals[#totals + 1] = redis.call('HINCRBY', counts, ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', counts, 60)
return totals
