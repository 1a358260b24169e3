#!lua flags=no-writes
-- Where files went that left some paths. KEYS[1] the epoch pointer. ARGV: prefix, a position in the log, how many rows of
-- each path are wanted at most, then the paths.
-- Returns {applied, archived, compacted, for each path its first rows behind that position, in order: `position id path`}.
-- Errors: ABSENT. Cost: O(paths * (log(rows) + wanted)).
--include open_view
local head = redis.call('HMGET', view .. 'head', 'applied', 'archived', 'compacted')
local moved = {}
for i = 4, #ARGV do
  moved[#moved + 1] = redis.call('ZRANGEBYSCORE', view .. 'moved:' .. ARGV[i], '(' .. ARGV[2], '+inf', 'LIMIT', 0, ARGV[3])
end
return {head[1] or '0', head[2] or '0', head[3] or '0', moved}
