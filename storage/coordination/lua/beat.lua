#!lua flags=allow-oom
-- Renew the leases of one process, and the messages that it is working on.
-- KEYS[1] the epoch pointer. ARGV: prefix, life of a lease (ms), life of a message's token (ms), number of owners, these,
-- then kind and token of each message.
-- A lease that has expired begins again: unless somebody has taken its locks meanwhile, nothing is lost by a Redis that
-- was away. Returns nothing. Cost: O(owners + messages).
--include clock
--include leases
local prefix, ttl, message_ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])
local deadline, owners = now_ms() + message_ttl, tonumber(ARGV[4])
for i = 5, 4 + owners do begin_lease(prefix, ARGV[i], ttl) end
for i = 5 + owners, #ARGV, 2 do redis.call('ZADD', prefix .. 'messages:' .. ARGV[i], 'XX', deadline, ARGV[i + 1]) end
