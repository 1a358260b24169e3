#!lua flags=no-writes
-- Which undecided changeset is to replace another. KEYS[1] the epoch pointer. ARGV: prefix, the other's id.
-- Returns {1 if Redis is recovered else 0, the changeset or false}. Errors: ABSENT. Cost: O(1).
--include open_view
--include decided
--include run
--include successors
local old = ARGV[2]
local decided, found = decisions(view), redis.call('GET', successor_key(prefix, old))
return {is_recovered(prefix, epoch) and 1 or 0, found and not decided(found) and found}
