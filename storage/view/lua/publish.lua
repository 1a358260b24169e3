#!lua flags=allow-oom
-- Publish an epoch of the view, by compare-and-set. KEYS[1] the epoch pointer. ARGV: prefix, the epoch that was published when
-- loading began ('' for none), the new one, and the run of Redis in which it was loaded, '' where that is not asked. Returns
-- 1, or 0 if another epoch was published meanwhile, or the new one has been retired or is empty, or was loaded in
-- another run: the Redis of this run may lack a part of it. Cost: O(1).
--include run
local prefix, before, epoch, run = unpack(ARGV)
if (redis.call('GET', KEYS[1]) or '') ~= before then return 0 end
if redis.call('ZSCORE', prefix .. 'epochs', epoch) == '0' then return 0 end
if redis.call('EXISTS', prefix .. 'v:' .. epoch .. ':head') == 0 then return 0 end
if run ~= '' and this_run() ~= run then return 0 end
redis.call('SET', KEYS[1], epoch)
return 1
