#!lua flags=no-writes
-- One instant of the view: everything that a batch depends on.
-- KEYS[1] the epoch pointer. ARGV: prefix, then three lists, each led by its length: changeset ids whose outcomes,
-- slice ids whose definitions, idempotency keys whose owners are wanted.
-- Returns {epoch, head as a flat list, outcomes, definitions, owners, for each changeset its pack where the mark has passed
-- it undecided, the run of Redis, for each changeset what closed its conflict}; false where there is none.
-- Errors: ABSENT where there is no view (flushed, or being loaded). Cost: O(arguments).
--include open_view
--include run
--include lists
--include parts
local head = redis.call('HGETALL', view .. 'head')
if #head == 0 then return redis.error_reply('ABSENT the view is not loaded') end
-- What `read` returns of all items of a list: there may be many, and a call for each takes longer than all else.
local function read_all(list, read)
  local results = {}
  in_parts(list, function(...)
    for _, value in ipairs(read(...)) do results[#results + 1] = value end
  end)
  return results
end
local ids, keys = next_list(function(id) return id end), {}
for i, id in ipairs(ids) do keys[i] = view .. 'outcome:' .. id end
local outcomes = read_all(keys, function(...) return redis.call('MGET', ...) end)
local undecided = read_all(ids, function(...) return redis.call('HMGET', view .. 'undecided', ...) end)
local closed = read_all(ids, function(...) return redis.call('HMGET', view .. 'closed', ...) end)
local slices = next_list(function(id) return redis.call('HGET', view .. 'slices', id) end)
local owners = next_list(function(key) return redis.call('GET', view .. 'key:' .. key) end)
return {epoch, head, outcomes, slices, owners, undecided, this_run(), closed}
