#!lua
-- The heartbeat of the loader of an epoch of the view, by Redis's clock: at the beginning, and again while it loads.
-- One loads at a time: refuse to begin if another loader has sent a heartbeat within the last `silent_after` ms, or if an
-- epoch was published after the caller last looked.
-- KEYS[1] the epoch pointer. ARGV: prefix, epoch, '1' where it begins, and then how long a silent loader counts as at
-- work (ms), and the epoch that was published when the caller last looked, '' for none.
-- Returns the run of Redis. Errors: STALE it has been flushed, or retired because its loader was taken for dead; BEGUN somebody else
-- is at it, or has done it. Cost: O(log(epochs)).
--include clock
--include run
local prefix, epoch, begins, silent_after, before = unpack(ARGV)
local epochs, now = prefix .. 'epochs', now_ms()
if begins ~= '1' and tonumber(redis.call('ZSCORE', epochs, epoch) or 0) == 0 then
  return redis.error_reply('STALE the epoch that was being loaded is gone')
end
if begins == '1' then
  local published = redis.call('GET', KEYS[1]) or ''
  if published ~= before then
    return redis.error_reply('BEGUN somebody else has loaded the view')
  end
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', epochs, now - silent_after, '+inf')) do
    if other ~= epoch and other ~= published then
      return redis.error_reply('BEGUN somebody else is loading the view')
    end
  end
end
redis.call('ZADD', epochs, now, epoch)
return this_run()
