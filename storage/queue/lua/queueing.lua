-- Included by enqueue.lua and accept.lua. Put durable changesets into their slices' queues. Idempotent: what is decided or
-- queued is skipped.
-- KEYS[1] the epoch pointer. ARGV: prefix, seconds that copies of manifests live, then for each changeset:
-- id, slice, pack, base changeset or '', number of changes, its files' lock names (8 bytes each, in one string),
-- manifest or '', idempotency key or '', fingerprint of the request, '1' if it is held until it is
-- released, the changeset whose place it takes or ''.
-- A queue is a sorted set of ids with score 0, so it is ordered by ULID. In `ready` a slice with new work has a score
-- below 0, ordered by the time when it came (Redis's, ms); a claim that looks at it makes that the time of the try.
-- A key belongs to the first changeset that was queued with it, until that is decided and released: then the view knows.
-- What is held and not released yet, as the view knows, waits in a set of its own. Beside the queues, a set for each
-- file's lock name tells which changesets want it.
-- Returns for each changeset its position in the queue, -1 where it was skipped, -2 where it is held.
-- Errors: ABSENT where there is no view to know outcomes from. Cost: O(changesets * log(queue)).
local prefix, keep = ARGV[1], ARGV[2]
local epoch = redis.call('GET', KEYS[1])
if not epoch then return redis.error_reply('ABSENT the view is not loaded') end
local view = prefix .. 'v:' .. epoch .. ':'
local clock = redis.call('TIME')
local fresh = clock[1] * 1000 + math.floor(clock[2] / 1000) - 1e13
local decided, positions = decisions(view), {}
for i = 3, #ARGV, 11 do
  local id, slice, key = ARGV[i], ARGV[i + 1], ARGV[i + 7]
  local queue, work, held = prefix .. 'queue:' .. slice, prefix .. 'work:' .. id, prefix .. 'held:' .. slice
  local parked = ARGV[i + 9] == '1' and not redis.call('ZSCORE', view .. 'released', id)
  if decided(id) then
    positions[#positions + 1] = -1
  else
    if redis.call('EXISTS', work) == 0 or not redis.call('ZSCORE', parked and held or queue, id) then
      local names = ARGV[i + 5]
      redis.call('HSET', work, 'slice', slice, 'pack', ARGV[i + 2], 'base', ARGV[i + 3], 'count', ARGV[i + 4],
        'files', names)
      if ARGV[i + 9] == '1' then redis.call('HSET', work, 'hold', '1') end
      if ARGV[i + 10] ~= '' then
        redis.call('HSET', work, 'resolves', ARGV[i + 10])
        name_successor(prefix, decided, ARGV[i + 10], id)
      end
      for j = 1, #names, 8 do redis.call('ZADD', prefix .. 'on:' .. string.sub(names, j, j + 7), 0, id) end
      if ARGV[i + 6] ~= '' then redis.call('SET', prefix .. 'manifest:' .. id, ARGV[i + 6], 'EX', keep) end
      if key ~= '' then
        local owner = id .. ' ' .. ARGV[i + 8]
        redis.call('HSET', work, 'key', key, 'print', ARGV[i + 8])
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
        redis.call('ZADD', prefix .. 'ready', 'LT', fresh, slice)
        if ARGV[i + 9] == '1' then
          redis.call('ZREM', held, id)
          redis.call('ZREM', prefix .. 'held', id)
        end
      end
    end
    positions[#positions + 1] = parked and -2 or redis.call('ZRANK', queue, id)
  end
end
return positions
