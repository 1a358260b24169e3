#!lua flags=allow-oom
-- Take a lock that expires. It is one key, so it may be taken while Redis is full, by processes that make room.
-- KEYS[1] the epoch pointer. ARGV: prefix, name of the lock, owner, life of the lock (ms), life of its owner's lease (ms),
-- and how long whoever gives it back (give.lua) is to tell those who wait for it (ms; '': they do not wait).
-- Its value is the owner and the run of Redis. A lock of another run counts as free: after a failover a released lock may
-- exist again. Returns 1 if it is the owner's now (the answer to an earlier call may have been lost), else 0.
-- Cost: O(1).
--include run
--include leases
local prefix, name, owner, life, ttl, waits = unpack(ARGV)
local key, run = prefix .. name, this_run()
local holder, holders_run = string.match(redis.call('GET', key) or '', '^(%S+) (%S+)$')
if holder and holder ~= owner and holders_run == run and is_alive(prefix, holder) then
  if waits ~= '' then redis.call('SET', prefix .. 'awaited:' .. name, '', 'PX', waits) end
  return 0
end
redis.call('SET', key, owner .. ' ' .. run, 'PX', life)
begin_lease(prefix, owner, ttl)
return 1
