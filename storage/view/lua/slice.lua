#!lua flags=no-writes
-- A slice by its id or its name, as it is at one instant. KEYS[1] the epoch pointer. ARGV: prefix, the id or the name.
-- Returns {the entry that the view has applied, the slice's row, false where there is none}. Errors: ABSENT where there
-- is no view. Cost: O(1).
--include open_view
local applied = redis.call('HGET', view .. 'head', 'applied')
if not applied then return redis.error_reply('ABSENT the view is not loaded') end
local row = redis.call('HGET', view .. 'slices', ARGV[2])
if not row then
  local id = redis.call('HGET', view .. 'slice_ids', ARGV[2])
  row = id and redis.call('HGET', view .. 'slices', id)
end
return {applied, row}
