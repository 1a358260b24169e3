-- Included by enqueue.lua and accept.lua. Put durable changesets into their slices' queues. Idempotent: what is decided or
-- queued is skipped.
-- KEYS[1] the epoch pointer. ARGV: prefix, seconds that copies of manifests live, then for each changeset:
-- id, slice, pack, base changeset or '', number of changes, its files' lock names (8 bytes each, in one string),
-- manifest or '', idempotency key or '', fingerprint of the request, '1' if it is held until it is
-- released, the changeset whose place it takes or '', the bytes of its contents and its manifest.
-- A queue is a sorted set of ids with score 0, so it is ordered by ULID. In `ready` a slice with new work has a score
-- below 0, ordered by the time when it came (Redis's, ms); a claim that looks at it makes that the time of the try.
-- A key belongs to the first changeset that was queued with it, until that is decided and released: then the view knows.
-- What is held and not released yet, as the view knows, waits in a set of its own. Beside the queues, a set for each
-- file's lock name tells which changesets want it.
-- Returns for each changeset its position in the queue, -1 where it was skipped, -2 where it is held.
-- Errors: ABSENT where there is no view to know outcomes from. Cost: O(changesets * log(queue)).
local keep, fresh = ARGV[2], now_ms() - 1e13
local decided, positions, fresh_slices = decisions(view), {}, {}
for i = 3, #ARGV, 12 do
  local id, slice, pack, base, count, files, manifest, key, fingerprint, hold, resolves, size = unpack(ARGV, i, i + 11)
  local queue, work, held = prefix .. 'queue:' .. slice, prefix .. 'work:' .. id, prefix .. 'held:' .. slice
  local parked = hold == '1' and not redis.call('ZSCORE', view .. 'released', id)
  if decided(id) then
    positions[#positions + 1] = -1
  else
    if redis.call('EXISTS', work) == 0 or not redis.call('ZSCORE', parked and held or queue, id) then
      redis.call('HSET', work, 'slice', slice, 'pack', pack, 'base', base, 'count', count, 'size', size, 'files', files)
      if hold == '1' then redis.call('HSET', work, 'hold', '1') end
      if resolves ~= '' then
        redis.call('HSET', work, 'resolves', resolves)
        name_successor(prefix, decided, resolves, id)
      end
      for j = 1, #files, 8 do redis.call('ZADD', prefix .. 'on:' .. string.sub(files, j, j + 7), 0, id) end
      if manifest ~= '' then redis.call('SET', prefix .. 'manifest:' .. id, manifest, 'EX', keep) end
      if key ~= '' then
        local owner = id .. ' ' .. fingerprint
        redis.call('HSET', work, 'key', key, 'print', fingerprint)
        redis.call('SET', prefix .. 'key:' .. key, owner, 'NX')
        -- Released as decided, and queued again by a view that knows less.
        if redis.call('GET', prefix .. 'key:' .. key) == owner then redis.call('PERSIST', prefix .. 'key:' .. key) end
      end
      if parked then
        redis.call('ZADD', held, 0, id)
        redis.call('ZADD', prefix .. 'held', 0, id)
      else
        redis.call('ZADD', queue, 0, id)
        redis.call('ZADD', prefix .. 'queued', 0, id)
        fresh_slices[slice] = true
        if hold == '1' then
          redis.call('ZREM', held, id)
          redis.call('ZREM', prefix .. 'held', id)
        end
      end
    end
    positions[#positions + 1] = parked and -2 or redis.call('ZRANK', queue, id)
  end
end
for slice in pairs(fresh_slices) do redis.call('ZADD', prefix .. 'ready', 'LT', fresh, slice) end
return positions
