#!lua flags=no-writes
-- What the API asks before it takes submissions. KEYS[1] the epoch pointer. ARGV: prefix, then four lists, each led
-- by its length: slices by id or name, changeset ids used as bases, idempotency keys, principals.
-- Returns {1 if Redis is recovered else 0, pending, queued in all, held in all, for each slice {definition or
-- false, queued in it}, for each base 1 or 0 whether it is known (one
-- up to the mark may be in the archive), for each key its changeset or false, the mark, the last compaction, how many
-- advisory claims there are, for each principal how many it has queued or held}.
-- Errors: ABSENT. Cost: O(arguments).
--include open_view
--include run
--include lists
local slices = next_list(function(name)
  local id = name
  local definition = redis.call('HGET', view .. 'slices', id)
  if not definition then
    id = redis.call('HGET', view .. 'slice_ids', name)
    definition = id and redis.call('HGET', view .. 'slices', id)
  end
  return {definition or false, id and redis.call('ZCARD', prefix .. 'queue:' .. id) or 0}
end)
local bases = next_list(function(id)
  return redis.call('EXISTS', view .. 'outcome:' .. id, prefix .. 'work:' .. id) > 0 and 1 or 0
end)
local keys = next_list(function(key)
  return redis.call('GET', view .. 'key:' .. key) or redis.call('GET', prefix .. 'key:' .. key)
end)
local principals = next_list(function(principal)
  return redis.call('ZCARD', prefix .. 'queued_by:' .. principal) + redis.call('ZCARD', prefix .. 'held_by:' .. principal)
end)
local committed, merged, mark, compacted = unpack(redis.call('HMGET', view .. 'head', 'committed', 'merged', 'mark',
  'compacted'))
return {is_recovered(prefix, epoch) and 1 or 0, tonumber(committed) - tonumber(merged),
  redis.call('ZCARD', prefix .. 'queued'), redis.call('ZCARD', prefix .. 'held'), slices, bases, keys, mark or '',
  compacted or '0', redis.call('ZCARD', prefix .. 'advisory_claims'), principals}
