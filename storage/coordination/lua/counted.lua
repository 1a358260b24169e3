#!lua flags=no-writes
-- What all processes have counted, and what those that are at work say of themselves.
-- KEYS[1] the epoch pointer. ARGV: prefix, ms within which they have reported.
-- Returns a list of names and counts by turns, and a list of what processes say. Cost: O(counters + processes).
--include clock
local prefix, silence = unpack(ARGV)
local said = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'processes', now_ms() - silence, '+inf')) do
  said[#said + 1] = string.match(redis.call('HGET', prefix .. 'reports', name) or '', '^%d+ (.*)$') or ''
end
return { redis.call('HGETALL', prefix .. 'sums'), said }
