#!lua flags=no-writes
-- Some advisory claims as they are now.
-- KEYS[1] the epoch pointer. ARGV: prefix, ids.
-- Returns for each {principal, intent, end (ms), paths}, or false where it has ended. Cost: O(ids).
--include clock
local prefix, now, found = ARGV[1], now_ms(), {}
for i = 2, #ARGV do
  local record = redis.call('HMGET', prefix .. 'advisory_claim:' .. ARGV[i], 'principal', 'intent', 'ends', 'paths')
  found[#found + 1] = record[1] and tonumber(record[3]) > now and record or false
end
return found
