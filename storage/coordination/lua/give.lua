#!lua flags=allow-oom
-- Give a lock back (take.lua) if it still is the owner's, and end the owner's lease unless it has a claim as well. Where the
-- lock is free then, or was before, whoever has waited for it longest (BLPOP of `freed:`) is told: this owner may have been
-- told itself, and may end before it took it.
-- KEYS[1] the epoch pointer. ARGV: prefix, name of the lock, owner. Returns 1 if it was the owner's, else 0. Cost: O(1).
local TOLD = 1000 -- how long that stands for one who is about to wait (ms)
local prefix, name, owner = unpack(ARGV)
local key = prefix .. name
if not redis.call('ZSCORE', prefix .. 'trying', owner) then redis.call('DEL', prefix .. 'lease:' .. owner) end
local holder = string.match(redis.call('GET', key) or '', '^%S+')
if holder and holder ~= owner then return 0 end
local freed = prefix .. 'freed:' .. name
if redis.call('EXISTS', prefix .. 'awaited:' .. name) == 1 and redis.call('EXISTS', freed) == 0 then
  redis.call('RPUSH', freed, '')
  redis.call('PEXPIRE', freed, TOLD)
end
return redis.call('DEL', key)
