#!lua
-- Make an advisory claim, and tell it on the channel of their events.
-- KEYS[1] the epoch pointer. ARGV: prefix, id, principal, intent, life (ms), how many a principal may have, how many there
-- may be, then the paths ('' for everything).
-- Returns its end (ms, by the clock of Redis), -1 where the principal has too many, -2 where there are too many.
-- Ends some that have expired. Cost: O(paths * log(paths of all claims)).
local prefix, id, principal, intent, life, most_of_one, most = unpack(ARGV, 1, 7)
--include clock
--include advisory_claims
local now = now_ms()
end_expired(now, 32)
local live = '(' .. now
if redis.call('ZCOUNT', claims_of(principal), live, '+inf') >= tonumber(most_of_one) then return -1 end
if redis.call('ZCOUNT', ends_at, live, '+inf') >= tonumber(most) then return -2 end
local ends, paths = now + tonumber(life), table.concat(ARGV, '\0', 8)
redis.call('HSET', prefix .. 'advisory_claim:' .. id, 'principal', principal, 'intent', intent, 'ends', ends, 'paths', paths)
redis.call('ZADD', ends_at, ends, id)
redis.call('ZADD', claims_of(principal), ends, id)
for path in each_path(paths) do redis.call('ZADD', paths_at, 0, path .. '\0' .. id) end
tell('claimed', id, principal, intent, ends, paths)
return ends
