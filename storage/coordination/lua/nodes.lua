#!lua flags=no-writes
-- Which processes of a deployment have sent a heartbeat lately.
-- KEYS[1] the epoch pointer. ARGV: prefix, ms within which they have reported.
-- Returns their names. Cost: O(processes).
--include clock
local prefix, silence = unpack(ARGV)
return redis.call('ZRANGEBYSCORE', prefix .. 'nodes', now_ms() - silence, '+inf')
