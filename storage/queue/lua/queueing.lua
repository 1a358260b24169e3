-- Included by enqueue.lua and accept.lua. Put durable changesets into their slices' queues. Idempotent: what is decided or
-- queued is skipped.
-- KEYS[1] the epoch pointer. ARGV: prefix, seconds that copies of manifests live, how many turns a step of priority is
-- worth, then for each changeset: id, slice, pack, base changeset or '', number of changes, its files' lock names (8 bytes
-- each, in one string), manifest or '', idempotency key or '', fingerprint of the request, '1' if it is held until it is
-- released, the changeset whose place it takes or '', the bytes of its contents and its manifest, its principal, its
-- priority, what lists tell of it, the digests by which they find it (8 bytes each, in one string).
-- A queue is a sorted set of ids with score 0, so it is ordered by ULID. In `ready` a slice with new work has a score
-- below 0, ordered by the time when it came (Redis's, ms); a claim that looks at it makes that the time of the try.
-- `order:<slice>` has the same ids by turn: the one that claims have reached, plus how many of the same principal wait
-- already. So principals take turns, however many changesets one of them has. A step of priority is worth some turns.
-- A key belongs to the first changeset that was queued with it, until that is decided and released: then the view knows.
-- What is held and not released yet, as the view knows, waits in a set of its own. Beside the queues, a set for each
-- file's lock name tells which changesets want it; one for each slice has those with too many files for that.
-- Returns for each changeset its position in the queue, -1 where it was skipped, -2 where it is held.
-- Errors: ABSENT where there is no view to know outcomes from. Cost: O(changesets * log(queue)).
local keep, step, now = ARGV[2], tonumber(ARGV[3]), now_ms()
local decided, positions, lowest, waiting = decisions(view), {}, {}, {}

-- What is added to sorted sets: one call for each set.
local members = {}
local function add(key, score, id)
  local list = members[key] or {}
  members[key] = list
  list[#list + 1], list[#list + 2] = score, id
end

local function queue_up(i, held, is_parked)
  local id, slice, pack, base, count, files, manifest, key, fingerprint, hold, resolves, size, by, priority, told,
    digests = unpack(ARGV, i, i + 15)
  local more = {}
  local function note(name, value) more[#more + 1], more[#more + 2] = name, value end
  if hold == '1' then note('hold', '1') end
  if priority ~= '0' then note('priority', priority) end
  if resolves ~= '' then
    note('resolves', resolves)
    name_successor(prefix, decided, resolves, id)
  end
  for j = 1, #files, 8 do redis.call('ZADD', prefix .. 'on:' .. string.sub(files, j, j + 7), 0, id) end
  for j = 1, #digests, 8 do add(prefix .. 'of:' .. string.sub(digests, j, j + 7), 0, id) end
  if files == '' then add(prefix .. 'wide:' .. slice, 0, id) end
  if manifest ~= '' then redis.call('SET', prefix .. 'manifest:' .. id, manifest, 'EX', keep) end
  if key ~= '' then
    local owner = id .. ' ' .. fingerprint
    note('key', key)
    note('print', fingerprint)
    -- Released as decided, and queued again by a view that knows less.
    if redis.call('SET', prefix .. 'key:' .. key, owner, 'NX', 'GET') == owner then
      redis.call('PERSIST', prefix .. 'key:' .. key)
    end
  end
  redis.call('HSET', prefix .. 'work:' .. id, 'slice', slice, 'pack', pack, 'base', base, 'count', count, 'size', size,
    'files', files, 'by', by, 'told', told, 'digests', digests, unpack(more))
  waiting[by] = waiting[by] or {}
  if is_parked then
    add(held, 0, id)
    add(prefix .. 'held', 0, id)
    add(prefix .. 'held_by:' .. by, 0, id)
    return
  end
  table.insert(waiting[by], {slice, id, tonumber(priority) * step})
  if priority ~= '0' then add(prefix .. 'prioritized', 0, id) end
  if hold == '1' then
    redis.call('ZREM', held, id)
    redis.call('ZREM', prefix .. 'held', id)
    redis.call('ZREM', prefix .. 'held_by:' .. by, id)
  end
end

-- Mostly none of them is known yet, which one call tells of many.
local keys = {}
for i = 4, #ARGV, 16 do
  keys[#keys + 1], keys[#keys + 2] = view .. 'outcome:' .. ARGV[i], prefix .. 'work:' .. ARGV[i]
end
local all_new = count_existing(keys) == 0

for i = 4, #ARGV, 16 do
  local id, slice, parked = ARGV[i], ARGV[i + 1], false
  local queue, work, held = prefix .. 'queue:' .. slice, prefix .. 'work:' .. id, prefix .. 'held:' .. slice
  if decided(id, all_new) then
    positions[#positions + 1] = -1
  else
    parked = ARGV[i + 9] == '1' and not redis.call('ZSCORE', view .. 'released', id)
    if all_new or redis.call('EXISTS', work) == 0 or not redis.call('ZSCORE', parked and held or queue, id) then
      queue_up(i, held, parked)
    end
    positions[#positions + 1] = parked and -2 or queue
  end
end

local reached
for by, list in pairs(waiting) do
  local own = prefix .. 'queued_by:' .. by
  if #list > 0 then
    reached = reached or tonumber(redis.call('GET', prefix .. 'turn') or '0')
    local ahead = redis.call('ZCARD', own) - 1
    for i, each in ipairs(list) do
      local slice, id, head_start = unpack(each)
      local turn = reached + ahead + i - head_start
      add(prefix .. 'queue:' .. slice, 0, id)
      add(prefix .. 'queued', 0, id)
      add(own, 0, id)
      add(prefix .. 'order:' .. slice, turn, id)
      lowest[slice] = math.min(lowest[slice] or turn, turn)
    end
  end
  redis.call('ZADD', prefix .. 'principals', now, by)
end
for key, list in pairs(members) do
  in_parts(list, function(...) redis.call('ZADD', key, ...) end)
end
for slice, turn in pairs(lowest) do
  redis.call('ZADD', prefix .. 'ready', 'LT', now - 1e13, slice)
  redis.call('ZADD', prefix .. 'heads', 'LT', turn, slice)
end
for i, queue in ipairs(positions) do
  if queue ~= -1 and queue ~= -2 then positions[i] = redis.call('ZRANK', queue, ARGV[4 + (i - 1) * 16]) end
end
return positions
