#!lua
-- The archive's tables. KEYS[1] the epoch pointer. ARGV: prefix.
-- Returns {the last entry that compacted, then name and `level prefix` of each table in turn}. Errors: ABSENT. Cost: O(tables).
local epoch = redis.call('GET', KEYS[1])
if not epoch then return redis.error_reply('ABSENT the view is not loaded') end
local view = ARGV[1] .. 'v:' .. epoch .. ':'
return {redis.call('HGET', view .. 'head', 'compacted') or '0', unpack(redis.call('HGETALL', view .. 'tables'))}
