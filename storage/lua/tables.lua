#!lua
-- The archive's tables. KEYS[1] the epoch pointer. ARGV: prefix.
-- Returns {the last entry that compacted, the name and `level prefix` of each table in turn}: a list in a list, since
-- Lua's stack holds 8,000. Errors: ABSENT. Cost: O(tables).
local epoch = redis.call('GET', KEYS[1])
if not epoch then return redis.error_reply('ABSENT the view is not loaded') end
local view = ARGV[1] .. 'v:' .. epoch .. ':'
return {redis.call('HGET', view .. 'head', 'compacted') or '0', redis.call('HGETALL', view .. 'tables')}
