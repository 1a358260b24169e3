#!lua flags=no-writes
-- What is known of changesets, in the fewest bytes: recovery asks for every one of the inbox.
-- KEYS[1] the epoch pointer. ARGV: prefix, changeset ids (26 bytes each, in one string).
-- Returns a string with a digit for each: 2 it is decided, 1 it is queued or held, 0 neither.
-- Errors: ABSENT. Cost: O(ids * log(queue)).
--include open_view
--include decided
local ids, found, decided = ARGV[2], {}, decisions(view)
for i = 1, #ids, 26 do
  local id, known = string.sub(ids, i, i + 25), '0'
  if decided(id) then
    known = '2'
  else
    local slice = redis.call('HGET', prefix .. 'work:' .. id, 'slice')
    if slice and (redis.call('ZSCORE', prefix .. 'queue:' .. slice, id) or (redis.call('ZSCORE', prefix .. 'held:' .. slice, id)
      and not redis.call('ZSCORE', view .. 'released', id))) then known = '1' end
  end
  found[#found + 1] = known
end
return table.concat(found)
