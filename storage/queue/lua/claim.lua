#!lua
-- Claim a bounded batch: slices with new work and slices that were tried before, alternately, those first that have waited
-- longest; of each the first changesets of its queue. Takes locks on the slices and on the files that these change, all
-- or none for a slice. The locks are advisory. Where several principals had something queued lately, or something queued
-- has a priority, it is claimed by turns instead (turns/by_turns.lua), but for every eighth claim: so what is oldest is
-- claimed in the end whatever comes.
-- KEYS[1] the epoch pointer. ARGV: prefix, the caller's time (ms), owner, life of claim and locks (ms), most changesets, most changes,
-- most slices, tries before a slice goes ahead without file locks, '1' to take locks, how far to look into a queue,
-- most pending changesets, '1' to claim only from a Redis that is recovered, alone-deaths that make a changeset poison,
-- how long a suspect rests (ms), most bytes of contents and manifests, life of the owner's lease (ms), most changesets
-- where many are queued: a claim takes up to a fourth of what is queued, if that is more than the most otherwise, and if no
-- other principal would wait for it; for how long a principal counts from its last changeset on (ms), most changesets of one
-- principal while there are several.
-- A claim stands in `trying` until it is released, with the time when it ends. If another one has ended, or its owner has
-- no lease (leases.lua), only that claim is returned, as {'', owner, ids in one string}: release it as died (release.lua),
-- and claim again. Suspects, whose `work` has a field `deaths`, are claimed alone and without locks, alternating with the
-- others, until the time that is their score in `suspects`. One that failed twice rests until an entry was appended since,
-- or for the given time.
-- Returns {slice, id, pack} for each changeset, in order; of a suspect also its deaths alone and the last fault.
-- Errors: ABSENT no view; RECOVERING the inbox has not been listed since Redis came up; PAUSED too much is pending.
-- Cost: O(claims that run + slices looked at * look-ahead + locks).
--include open_view
--include clock
--include decided
--include successors
--include parts
--include forget
--include run
--include leases
-- `ttl` stays a text: each of many locks is given it, and Lua would write a number anew for each.
local callers_time, owner, ttl, locking, recovered_only = ARGV[2], ARGV[3], ARGV[4], ARGV[9] == '1', ARGV[12] == '1'
local most, most_changes, most_slices = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local lock_tries, look, max_pending = tonumber(ARGV[8]), tonumber(ARGV[10]), tonumber(ARGV[11])
local poison_tries, rest, most_bytes = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
local usual, now = most, now_ms()
local active = redis.call('ZCOUNT', prefix .. 'principals', now - tonumber(ARGV[18]), '+inf')
if active < 2 then
  most = math.max(most, math.min(tonumber(ARGV[17]), math.floor(redis.call('ZCARD', prefix .. 'queued') / 4)))
end
if recovered_only and not is_recovered(prefix, epoch) then
  return redis.error_reply('RECOVERING the inbox is being listed')
end
local committed, merged, applied = unpack(redis.call('HMGET', view .. 'head', 'committed', 'merged', 'applied'))
if tonumber(committed) - tonumber(merged) >= max_pending then
  return redis.error_reply('PAUSED commits wait for merges')
end
local running = redis.call('ZRANGE', prefix .. 'trying', 0, -1, 'WITHSCORES')
for i = 1, #running, 2 do
  local other = running[i]
  if tonumber(running[i + 1]) <= now or not is_alive(prefix, other) then
    return {{'', other, redis.call('HGET', prefix .. 'tried', other) or ''}}
  end
end
local turn = redis.call('INCR', prefix .. 'claims')

-- Whether another owner has one of the locks with these keys.
local function held(keys)
  local busy = false
  in_parts(keys, function(...)
    for _, holder in ipairs(redis.call('MGET', ...)) do
      busy = busy or (holder and holder ~= owner and is_alive(prefix, holder))
    end
  end)
  return busy
end
local decided = decisions(view)

local claimed, picked, changes, bytes, slices = {}, {}, 0, 0, 0
local principals, locked = {}, {}

-- What of a slice's queue can be taken now: ids in order, and the keys of their files' locks.
local function choose(slice)
  local queue, cursor = prefix .. 'queue:' .. slice, prefix .. 'cursor:' .. slice
  local stands = redis.call('GET', cursor)
  local start = tonumber(stands or '0')
  local ids = redis.call('ZRANGE', queue, start, start + look - 1)
  local take, files, local_changes, local_bytes, full = {}, {}, 0, 0, false
  local here = {}
  for _, id in ipairs(ids) do
    local base, count, names, pack, key, suspect, size, resolves, by, priority = unpack(redis.call('HMGET',
      prefix .. 'work:' .. id, 'base', 'count', 'files', 'pack', 'key', 'deaths', 'size', 'resolves', 'by', 'priority'))
    if not count or decided(id) then
      -- Decided by a batch whose worker died before it released, or half lost: recovery enqueues that again.
      forget_work(prefix, {{slice, id, names, key, resolves, by, priority,
        redis.call('HGET', prefix .. 'work:' .. id, 'digests')}})
    elseif suspect then
      -- Tried alone; what is based on it waits.
    elseif base == '' or here[base] or picked[base] or decided(base) then
      -- What was queued by a version that noted no size counts as an equal part of a full claim.
      count, size = tonumber(count), tonumber(size or most_bytes / usual)
      local before = #claimed + #take
      if before >= most or (before > 0 and (changes + local_changes + count > most_changes
          or bytes + local_bytes + size > most_bytes)) then
        full = true
        break
      end
      take[#take + 1] = {slice, id, pack}
      here[id] = true
      if by then principals[by] = true end
      local_changes, local_bytes = local_changes + count, local_bytes + size
      for i = 1, #names, 8 do files[#files + 1] = prefix .. 'lock:file:' .. string.sub(names, i, i + 7) end
    end
  end
  -- A run of changesets that all wait for bases must not hide what stands behind them.
  if #take == 0 and #ids == look then
    redis.call('SET', cursor, start + look, 'PX', ttl)
  elseif stands then
    redis.call('DEL', cursor)
  end
  if redis.call('ZCARD', queue) == 0 then leave_ready(prefix, slice) end
  return take, files, local_changes, local_bytes, here, full
end

-- New work must not wait for all that was tried in vain, nor what was tried for all new work: neither fills a claim
-- before the other had its turn, and the first turn, which may fill it alone, goes to each in every second claim.
local function candidates()
  local ready, limit = prefix .. 'ready', most_slices * 2
  local kinds = {redis.call('ZRANGEBYSCORE', ready, '-inf', 0, 'LIMIT', 0, limit),
    redis.call('ZRANGEBYSCORE', ready, '(0', '+inf', 'LIMIT', 0, limit)}
  local chosen = {}
  for i = 1, limit do
    for kind = turn, turn + 1 do
      local slice = kinds[kind % 2 + 1][i]
      if slice and #chosen < limit then chosen[#chosen + 1] = slice end
    end
  end
  return chosen
end

local function take_suspect()
  local suspects = prefix .. 'suspects'
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', suspects, '-inf', now, 'LIMIT', 0, most_slices)) do
    local slice, base, pack, deaths, fails, at, when, fault = unpack(redis.call('HMGET', prefix .. 'work:' .. id, 'slice',
      'base', 'pack', 'deaths', 'fails', 'at', 'when', 'fault'))
    if not deaths or decided(id) or not redis.call('ZSCORE', prefix .. 'queue:' .. slice, id) then
      redis.call('ZREM', suspects, id)
    elseif (base == '' or decided(base)) and (tonumber(fails or '0') < 2 or tonumber(deaths) >= poison_tries
        or tonumber(applied) > tonumber(at) or now - tonumber(when) >= rest) then
      redis.call('ZADD', suspects, now + ttl, id)
      claimed[1] = {slice, id, pack, deaths, fault or ''}
      return
    else
      redis.call('ZADD', suspects, now, id)
    end
  end
end

-- Claim what `chosen` (choose, or choose_by_turn) finds in a slice; tell whether the claim is full.
local function claim_slice(slice, chosen)
  local ready = prefix .. 'ready'
  local since = redis.call('ZSCORE', ready, slice)
  redis.call('ZADD', ready, 'XX', callers_time, slice)
  local lock = prefix .. 'lock:slice:' .. slice
  if locking and held({lock}) then return false end
  local take, files, count, size, here, full = chosen(slice)
  local busy = false
  -- Its first changeset has no room behind those of others: it keeps its place, to be first some time.
  if full and #take == 0 and since then redis.call('ZADD', ready, 'XX', since, slice) end
  if locking and #take > 0 then
    busy = held(files)
    if busy and redis.call('HINCRBY', prefix .. 'tries', slice, 1) > lock_tries then
      -- Never all of its locks at once: go ahead without those of files (the log decides).
      busy, files = false, {}
    end
  end
  if #take > 0 and not busy then
    if locking then
      redis.call('HDEL', prefix .. 'tries', slice)
      redis.call('SET', lock, owner, 'PX', ttl)
      for _, key in ipairs(files) do redis.call('SET', key, owner, 'PX', ttl) end
    end
    if not locked[slice] then slices = slices + 1 end
    locked[slice] = true
    changes, bytes = changes + count, bytes + size
    for _, item in ipairs(take) do claimed[#claimed + 1] = item end
    for id in pairs(here) do picked[id] = true end
  end
  return full
end

--include by_turns

local some = redis.call('ZCARD', prefix .. 'suspects') > 0
if some and math.floor(turn / 2) % 2 == 1 then take_suspect() end
local most_of_one = tonumber(ARGV[19])
if #claimed == 0 and turn % 8 ~= 0 and (active > 1 or redis.call('ZCARD', prefix .. 'prioritized') > 0) then
  claim_by_turns(active, most_of_one)
end
-- What is oldest may all be of one principal.
if active > 1 then most = math.min(most, most_of_one) end
if #claimed == 0 then
  for _, slice in ipairs(candidates()) do
    if #claimed >= most or slices >= most_slices or claim_slice(slice, choose) then break end
  end
end
if some and #claimed == 0 then take_suspect() end
if #claimed > 0 then
  local ids = {}
  for i, item in ipairs(claimed) do ids[i] = item[2] end
  redis.call('ZADD', prefix .. 'trying', now + ttl, owner)
  redis.call('HSET', prefix .. 'tried', owner, table.concat(ids))
  begin_lease(prefix, owner, ARGV[16])
  for by in pairs(principals) do redis.call('ZADD', prefix .. 'principals', now, by) end
end
return claimed
