#!lua
-- Note that an epoch of the view is being loaded, by Redis's clock: when that begins, and again while it goes on.
-- One loads at a time: nobody begins while another has had its word within the last milliseconds of ARGV[4], or where
-- one has been published since the look after which it begins.
-- KEYS[1] the epoch pointer. ARGV: prefix, epoch, '1' where it begins, and then how long a silent loader counts as at
-- work (ms), and the epoch that was published at that look, '' for none.
-- Returns the run of Redis. Errors: STALE it has been flushed, or retired because its loader was taken for dead; BEGUN somebody else
-- is at it, or has done it. Cost: O(log(epochs)).
--include run
local epochs, epoch = ARGV[1] .. 'epochs', ARGV[2]
if ARGV[3] ~= '1' and tonumber(redis.call('ZSCORE', epochs, epoch) or 0) == 0 then
  return redis.error_reply('STALE the epoch that was being loaded is gone')
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if ARGV[3] == '1' then
  local published = redis.call('GET', KEYS[1]) or ''
  if published ~= ARGV[5] then
    return redis.error_reply('BEGUN somebody else has loaded the view')
  end
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', epochs, now - tonumber(ARGV[4]), '+inf')) do
    if other ~= epoch and other ~= published then
      return redis.error_reply('BEGUN somebody else is loading the view')
    end
  end
end
redis.call('ZADD', epochs, now, epoch)
return this_run()
