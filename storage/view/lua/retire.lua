#!lua flags=allow-oom
-- Take an epoch of the view out of use before its keys are deleted. With the score 0 in `epochs` it is never published or
-- written again, and if the process that deletes it dies, another one continues.
-- KEYS[1] the epoch pointer. ARGV: prefix, epoch. Returns 1, or 0 where it is the published one. Cost: O(log(epochs)).
local prefix, epoch = unpack(ARGV)
if redis.call('GET', KEYS[1]) == epoch then return 0 end
redis.call('ZADD', prefix .. 'epochs', 0, epoch)
return 1
