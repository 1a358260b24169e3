#!lua flags=no-writes
-- The archive's tables. KEYS[1] the epoch pointer. ARGV: prefix, the compaction whose tables are known already, or -1.
-- Returns {the last entry that compacted, name and `level bits prefix` of each table in turn}, with false for the list
-- where that entry is the known one. A list in a list, since Lua's stack holds 8,000. Errors: ABSENT. Cost: O(tables).
local epoch = redis.call('GET', KEYS[1])
if not epoch then return redis.error_reply('ABSENT the view is not loaded') end
local view = ARGV[1] .. 'v:' .. epoch .. ':'
local compacted = redis.call('HGET', view .. 'head', 'compacted') or '0'
return {compacted, compacted ~= ARGV[2] and redis.call('HGETALL', view .. 'tables')}
