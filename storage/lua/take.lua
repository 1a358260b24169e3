#!lua flags=allow-oom
-- Take a lock that ends by itself. One key, so it may be taken while Redis is full, by those who make room in it.
-- KEYS[1] the epoch pointer. ARGV: prefix, name of the lock, owner, life (ms).
-- Returns 1 if it is the owner's now (the answer to an earlier call may have been lost), else 0. Cost: O(1).
local key = ARGV[1] .. ARGV[2]
local holder = redis.call('GET', key)
if holder and holder ~= ARGV[3] then return 0 end
redis.call('SET', key, ARGV[3], 'PX', ARGV[4])
return 1
