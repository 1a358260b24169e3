#!lua flags=allow-oom
-- Take a lock that expires. It may be taken while Redis is full, by processes that make room.
-- KEYS[1] the epoch pointer. ARGV: prefix, name of the lock, owner, life of the lock (ms), life of its owner's lease (ms),
-- and, where whoever gives it back (give.lua) is to tell those who wait for it, 'waits'.
-- Its value is the owner and the run of Redis. A lock of another run counts as free: after a failover a released lock may
-- exist again. Returns 0 if it is the owner's now (the answer to an earlier call may have been lost), else after how many
-- ms it may be free though nobody gives it back, since its holder has died. Cost: O(1).
local KNOWN = 1000 -- how much longer it is known that somebody waits: they ask again meanwhile (ms)
--include run
--include leases
local prefix, name, owner, life, ttl, waits = unpack(ARGV)
local key, run = prefix .. name, this_run()
local holder, holders_run = string.match(redis.call('GET', key) or '', '^(%S+) (%S+)$')
if holder and holder ~= owner and holders_run == run and is_alive(prefix, holder) then
  local rest = math.max(1, redis.call('PTTL', needs_lease(holder) and prefix .. 'lease:' .. holder or key))
  if waits then redis.call('SET', prefix .. 'awaited:' .. name, '', 'PX', rest + KNOWN) end
  return rest
end
redis.call('SET', key, owner .. ' ' .. run, 'PX', life)
begin_lease(prefix, owner, ttl)
return 0
