#!lua flags=allow-oom
-- Add what a process has counted to the sums of all processes, and say that it is at work. The keys have fixed names, and
-- as many fields as there are counters and processes, so it is allowed while Redis is full: that is when they are read.
-- KEYS[1] the epoch pointer. ARGV: prefix, the process, the number of this report, what the process says of itself (empty:
-- it ends), ms after which one that says nothing is forgotten, then name and count of each counter.
-- A report that was made already (its answer was lost) changes nothing. Returns nothing. Cost: O(counters).
--include clock
local prefix, process, number, said, forget_after = unpack(ARGV, 1, 5)
local sums, processes, reports, now = prefix .. 'sums', prefix .. 'processes', prefix .. 'reports', now_ms()
local before = string.match(redis.call('HGET', reports, process) or '', '^%d+')
if before ~= number then
  for i = 6, #ARGV, 2 do redis.call('HINCRBY', sums, ARGV[i], ARGV[i + 1]) end
  redis.call('HSET', reports, process, number .. ' ' .. said)
end
redis.call('ZADD', processes, now, process)
local gone = redis.call('ZRANGEBYSCORE', processes, '-inf', now - forget_after)
for _, name in ipairs(gone) do redis.call('HDEL', reports, name) end
redis.call('ZREMRANGEBYSCORE', processes, '-inf', now - forget_after)
