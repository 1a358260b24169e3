#!lua flags=allow-oom
-- Write the heartbeat of a process, by the clock of Redis. It needs memory only the first time, so it is allowed while
-- Redis is full.
-- KEYS[1] the epoch pointer. ARGV: prefix, the process (name and what it does), "1" if it is at work or "" if it ends,
-- ms after which one that says nothing is forgotten.
-- Returns nothing. Cost: O(log processes).
--include clock
local prefix, node, at_work, forget_after = unpack(ARGV)
local nodes, now = prefix .. 'nodes', now_ms()
if at_work == '1' then
  redis.call('ZADD', nodes, now, node)
else
  redis.call('ZREM', nodes, node)
end
redis.call('ZREMRANGEBYSCORE', nodes, '-inf', now - forget_after)
