#!lua flags=no-writes
-- Which processes of a deployment have reported lately that they are at work.
-- KEYS[1] the epoch pointer. ARGV: prefix, ms within which they have reported.
-- Returns their names. Cost: O(processes).
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
return redis.call('ZRANGEBYSCORE', ARGV[1] .. 'nodes', now - ARGV[2], '+inf')
