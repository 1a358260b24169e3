#!lua flags=no-writes
-- The archive's tables. KEYS[1] the epoch pointer. ARGV: prefix, the compaction whose tables are known already, or -1.
-- Returns {the last entry that compacted, name and `level bits prefix` of each table in turn}, with false for the list
-- where that entry is the known one. A list in a list, since Lua's stack holds 8,000. Errors: ABSENT. Cost: O(tables).
--include open_view
local known = ARGV[2]
local compacted = redis.call('HGET', view .. 'head', 'compacted') or '0'
return {compacted, compacted ~= known and redis.call('HGETALL', view .. 'tables')}
