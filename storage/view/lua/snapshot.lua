#!lua flags=no-writes
-- One instant of the view: everything that a batch depends on.
-- KEYS[1] the epoch pointer. ARGV: prefix, then three lists, each led by its length: changeset ids whose outcomes,
-- slice ids whose definitions, idempotency keys whose owners are wanted.
-- Returns {epoch, head as a flat list, outcomes, definitions, owners, for each changeset 1 where the mark has passed it
-- undecided, the run of Redis, for each changeset what closed its conflict}; false where there is none.
-- Errors: ABSENT where there is no view (flushed, or being loaded). Cost: O(arguments).
--include open_view
--include run
--include lists
local head = redis.call('HGETALL', view .. 'head')
if #head == 0 then return redis.error_reply('ABSENT the view is not loaded') end
local undecided, closed = {}, {}
local outcomes = next_list(function(id)
  undecided[#undecided + 1] = redis.call('HEXISTS', view .. 'undecided', id)
  closed[#closed + 1] = redis.call('HGET', view .. 'closed', id)
  return redis.call('GET', view .. 'outcome:' .. id)
end)
local slices = next_list(function(id) return redis.call('HGET', view .. 'slices', id) end)
local owners = next_list(function(key) return redis.call('GET', view .. 'key:' .. key) end)
return {epoch, head, outcomes, slices, owners, undecided, this_run(), closed}
