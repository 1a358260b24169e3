#!lua flags=no-writes
-- Where changesets stand. KEYS[1] the epoch pointer. ARGV: prefix, changeset ids.
-- Returns {1 if Redis is recovered else 0, through, the mark, the last compaction, for each id: {outcome, slice, pack, position in the
-- queue, 1 if it is held else 0, what it resolves, what closed its conflict}}, with false for what there is not.
-- What is decided and archived has no outcome here; what queues restored from an older snapshot say of it is not reported.
-- Errors: ABSENT. Cost: O(ids * log(queue)).
--include decided
--include run
local prefix = ARGV[1]
local epoch = redis.call('GET', KEYS[1])
if not epoch then return redis.error_reply('ABSENT the view is not loaded') end
local view = prefix .. 'v:' .. epoch .. ':'
local decided = decisions(view)
local answer = {is_recovered(prefix, epoch) and 1 or 0,
  unpack(redis.call('HMGET', view .. 'head', 'through', 'mark', 'compacted'))}
for i = 2, #ARGV do
  local outcome = redis.call('GET', view .. 'outcome:' .. ARGV[i])
  local slice, pack, position, held, resolves = false, false, false, 0, false
  local closed = redis.call('HGET', view .. 'closed', ARGV[i])
  -- What an older copy of Redis remembers of one that is archived by now says nothing of it.
  if not outcome and not decided(ARGV[i]) then
    slice, pack, resolves = unpack(redis.call('HMGET', prefix .. 'work:' .. ARGV[i], 'slice', 'pack', 'resolves'))
    if slice then
      position = redis.call('ZRANK', prefix .. 'queue:' .. slice, ARGV[i])
      if redis.call('ZSCORE', prefix .. 'held:' .. slice, ARGV[i])
        and not redis.call('ZSCORE', view .. 'released', ARGV[i]) then held = 1 end
    end
  end
  answer[#answer + 1] = {outcome, slice, pack, position, held, resolves, closed}
end
return answer
