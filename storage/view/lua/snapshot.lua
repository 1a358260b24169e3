#!lua flags=no-writes
-- One instant of the view: everything that a batch depends on.
-- KEYS[1] the epoch pointer. ARGV: prefix, then three lists, each led by its length: changeset ids whose outcomes,
-- slice ids whose definitions, idempotency keys whose owners are wanted.
-- Returns {epoch, head as a flat list, outcomes, definitions, owners, for each changeset 1 where the mark has passed it
-- undecided, the run of Redis, for each changeset what closed its conflict}; false where there is none.
-- Errors: ABSENT where there is no view (flushed, or being loaded). Cost: O(arguments).
--include run
local prefix = ARGV[1]
local epoch = redis.call('GET', KEYS[1])
if not epoch then return redis.error_reply('ABSENT the view is not loaded') end
local view = prefix .. 'v:' .. epoch .. ':'
local head = redis.call('HGETALL', view .. 'head')
if #head == 0 then return redis.error_reply('ABSENT the view is not loaded') end

local at = 2
local function list(read)
  local found, count = {}, tonumber(ARGV[at])
  for i = 1, count do found[i] = read(ARGV[at + i]) end
  at = at + 1 + count
  return found
end
local undecided, closed = {}, {}
local outcomes = list(function(id)
  undecided[#undecided + 1] = redis.call('HEXISTS', view .. 'undecided', id)
  closed[#closed + 1] = redis.call('HGET', view .. 'closed', id)
  return redis.call('GET', view .. 'outcome:' .. id)
end)
local slices = list(function(id) return redis.call('HGET', view .. 'slices', id) end)
local owners = list(function(key) return redis.call('GET', view .. 'key:' .. key) end)
return {epoch, head, outcomes, slices, owners, undecided, this_run(), closed}
