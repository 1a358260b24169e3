#!lua flags=allow-oom
-- Take a lock that ends by itself. One key, so it may be taken while Redis is full, by those who make room in it.
-- KEYS[1] the epoch pointer. ARGV: prefix, name of the lock, owner, life (ms).
-- Its value is the owner and the run of Redis. One of another run is free: behind a failover it may be there again
-- though it was given back. Returns 1 if it is the owner's now (the answer to an earlier call may have been lost), else 0.
-- Cost: O(1).
--include run
local prefix, name, owner, life = unpack(ARGV)
local key, run = prefix .. name, this_run()
local holder, holders_run = string.match(redis.call('GET', key) or '', '^(%S+) (%S+)$')
if holder and holder ~= owner and holders_run == run then return 0 end
redis.call('SET', key, owner .. ' ' .. run, 'PX', life)
return 1
