#!lua
-- Note that an epoch of the view is being loaded, by Redis's clock: when that begins, and again while it goes on.
-- KEYS[1] the epoch pointer (for routing). ARGV: prefix, epoch, '1' where it begins.
-- Returns 1. Errors: STALE it has been flushed, or retired because its loader was taken for dead. Cost: O(log(epochs)).
local epochs, epoch = ARGV[1] .. 'epochs', ARGV[2]
if ARGV[3] ~= '1' and tonumber(redis.call('ZSCORE', epochs, epoch) or 0) == 0 then
  return redis.error_reply('STALE the epoch that was being loaded is gone')
end
local clock = redis.call('TIME')
redis.call('ZADD', epochs, clock[1] * 1000 + math.floor(clock[2] / 1000), epoch)
return 1
