#!lua flags=no-writes
-- Where changesets stand. KEYS[1] the epoch pointer. ARGV: prefix, changeset ids.
-- Returns {1 if Redis is recovered else 0, through, the mark, the last compaction, for each id: {outcome, slice, pack, position in the
-- queue, 1 if it is held else 0, what it resolves, what closed its conflict, its priority, what lists tell of it}}, with false for what there is not.
-- What is decided and archived has no outcome here; what queues restored from an older snapshot say of it is not reported.
-- Errors: ABSENT. Cost: O(ids * log(queue)).
--include open_view
--include decided
--include run
local decided = decisions(view)
local answer = {is_recovered(prefix, epoch) and 1 or 0,
  unpack(redis.call('HMGET', view .. 'head', 'through', 'mark', 'compacted'))}
for i = 2, #ARGV do
  local id = ARGV[i]
  local outcome = redis.call('GET', view .. 'outcome:' .. id)
  local slice, pack, position, held, resolves, priority, told = false, false, false, 0, false, false, false
  local closed = redis.call('HGET', view .. 'closed', id)
  -- What an older copy of Redis remembers of one that is archived by now says nothing of it.
  if not outcome and not decided(id) then
    slice, pack, resolves, priority, told = unpack(redis.call('HMGET', prefix .. 'work:' .. id, 'slice', 'pack', 'resolves',
      'priority', 'told'))
    if slice then
      position = redis.call('ZRANK', prefix .. 'queue:' .. slice, id)
      if redis.call('ZSCORE', prefix .. 'held:' .. slice, id)
        and not redis.call('ZSCORE', view .. 'released', id) then held = 1 end
    end
  end
  answer[#answer + 1] = {outcome, slice, pack, position, held, resolves, closed, priority, told}
end
return answer
