#!lua flags=allow-oom
-- Say that a process of a deployment is at work, by the clock of Redis. It takes no memory but the first time, so it
-- is allowed while Redis is full.
-- KEYS[1] the epoch pointer. ARGV: prefix, the process (name and what it does), "1" if it is at work or "" if it ends,
-- ms after which one that says nothing is forgotten.
-- Returns nothing. Cost: O(log processes).
local nodes = ARGV[1] .. 'nodes'
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if ARGV[3] == '1' then
  redis.call('ZADD', nodes, now, ARGV[2])
else
  redis.call('ZREM', nodes, ARGV[2])
end
redis.call('ZREMRANGEBYSCORE', nodes, '-inf', now - ARGV[4])
