#!lua flags=allow-oom
-- Note which of its claimed changesets an owner tries from now on: these are suspected if its worker dies.
-- KEYS[1] the epoch pointer. ARGV: prefix, owner, the ids in one string.
-- Returns 1, or 0 where the claim is gone. Cost: O(log(claims)).
local prefix, owner, ids = unpack(ARGV)
if not redis.call('ZSCORE', prefix .. 'trying', owner) then return 0 end
redis.call('HSET', prefix .. 'tried', owner, ids)
return 1
