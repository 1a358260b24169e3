#!lua flags=allow-oom
-- Release a claim: remove decided changesets from the queues, and the locks that are still the owner's.
-- KEYS[1] the epoch pointer. ARGV: prefix, owner ('' for nobody), what went wrong ('' nothing that the changesets could
-- have done; 'died' reported by another process about an owner without a lease; else the kind of an exception), how long a suspect rests
-- (ms), the one changeset that it went wrong with ('' where that is not known), how many of the changesets were tried,
-- then slice ('' where only `work` knows it) and id of each claimed changeset, those that were tried first; none: as the
-- claim has them, for an owner that never learned what it claimed.
-- The view says what is decided, so a batch that failed half way releases just the rest.
-- Suspicion: changesets that were claimed and not tried get none. If several were tried together, each becomes a suspect.
-- If one was tried alone, the failure is counted in its `work`: always the first, later ones only if an entry was appended
-- since (so the servers were fine), or after a rest. A late release by an owner presumed dead undoes the count.
-- Returns how many were removed. Cost: O(changesets + locks).
--include clock
--include decided
--include successors
--include parts
--include forget
--include leases
--include throughput
local prefix, owner, fault, rest, only, tried = unpack(ARGV, 1, 6)
rest, tried = tonumber(rest), tonumber(tried)
local members = {}
for i = 7, #ARGV do members[i - 6] = ARGV[i] end
local epoch = redis.call('GET', KEYS[1]) or ''
local view = prefix .. 'v:' .. epoch .. ':'
local decided, suspects = decisions(view), prefix .. 'suspects'
local now = now_ms()
local alone, buried = tried == 1, false
if owner ~= '' then
  if fault == 'died' then
    local deadline = redis.call('ZSCORE', prefix .. 'trying', owner)
    -- Somebody else was faster, or its lease was renewed meanwhile.
    if not deadline or (tonumber(deadline) > now and is_alive(prefix, owner)) then return 0 end
  end
  if #members == 0 then
    local ids = redis.call('HGET', prefix .. 'tried', owner) or ''
    for i = 1, #ids, 26 do
      members[#members + 1] = ''
      members[#members + 1] = string.sub(ids, i, i + 25)
    end
  end
  buried = redis.call('ZREM', prefix .. 'trying', owner) == 0
  redis.call('HDEL', prefix .. 'tried', owner)
  redis.call('DEL', prefix .. 'lease:' .. owner)
end
local some = redis.call('ZCARD', suspects) > 0

local locks, gone = {}, {}
local function unlock_all()
  in_parts(locks, function(...)
    local holders, own = redis.call('MGET', ...), {}
    for i, name in ipairs({...}) do
      if holders[i] == owner then own[#own + 1] = name end
    end
    if #own > 0 then redis.call('DEL', unpack(own)) end
  end)
end

local function blame(work, id)
  local deaths, fails, at, when = unpack(redis.call('HMGET', work, 'deaths', 'fails', 'at', 'when'))
  deaths, fails = tonumber(deaths or '0'), tonumber(fails or '0')
  if alone then
    local applied = tonumber(redis.call('HGET', view .. 'head', 'applied') or '0')
    if deaths == 0 or applied > tonumber(at) or now - tonumber(when) >= rest then deaths = deaths + 1 end
    redis.call('HSET', work, 'fails', fails + 1, 'at', applied, 'when', now, 'fault', fault)
  end
  redis.call('HSET', work, 'deaths', deaths)
  redis.call('ZADD', suspects, now, id)
end

local function take_back(work, id)
  local deaths, fails = unpack(redis.call('HMGET', work, 'deaths', 'fails'))
  deaths, fails = tonumber(deaths or '0'), tonumber(fails or '0')
  if alone then deaths, fails = math.max(0, deaths - 1), math.max(0, fails - 1) end
  -- Somebody else may be trying it alone at this moment.
  if deaths > 0 or tonumber(redis.call('ZSCORE', suspects, id) or '0') > now then
    redis.call('HSET', work, 'deaths', deaths, 'fails', fails)
  else
    redis.call('HDEL', work, 'deaths', 'fails', 'at', 'when', 'fault')
    redis.call('ZREM', suspects, id)
  end
end

-- Mostly all of them are decided, which one call tells of many.
local outcomes = {}
for i = 2, #members, 2 do outcomes[#outcomes + 1] = view .. 'outcome:' .. members[i] end
local all_decided = count_existing(outcomes) == #outcomes

local slices = {}
for i = 1, #members, 2 do
  local slice, id = members[i], members[i + 1]
  local work = prefix .. 'work:' .. id
  local files, key, known, hold, resolves, by, priority, digests = unpack(redis.call('HMGET', work, 'files', 'key', 'slice', 'hold',
    'resolves', 'by', 'priority', 'digests'))
  if slice == '' then slice = known or '' end
  slices[slice] = true
  for j = 1, #(files or ''), 8 do locks[#locks + 1] = prefix .. 'lock:file:' .. string.sub(files, j, j + 7) end
  if all_decided or decided(id) then
    gone[#gone + 1] = {slice, id, files, key, resolves, by, priority, digests}
    if hold or not known then
      if redis.call('ZREM', prefix .. 'held:' .. slice, id) == 1 then redis.call('ZREM', prefix .. 'held', id) end
      if by then redis.call('ZREM', prefix .. 'held_by:' .. by, id) end
    end
    -- Those who stack on it soon save a look at its pack.
    redis.call('EXPIRE', prefix .. 'manifest:' .. id, 60)
    if some then redis.call('ZREM', suspects, id) end
  elseif known and fault ~= '' and (i - 1) / 2 < tried and (only == '' or only == id) then
    blame(work, id)
  elseif known and buried then
    take_back(work, id)
  elseif some then
    redis.call('ZADD', suspects, 'XX', now, id)
  end
end
forget_work(prefix, gone)
local left = {}
for _, each in ipairs(gone) do left[each[1]] = (left[each[1]] or 0) + 1 end
for slice in pairs(slices) do
  locks[#locks + 1] = prefix .. 'lock:slice:' .. slice
  local is_empty = redis.call('ZCARD', prefix .. 'queue:' .. slice) == 0
  if is_empty then leave_ready(prefix, slice) end
  if left[slice] and slice ~= '' then count_decided(prefix, slice, left[slice], is_empty, now) end
end
unlock_all()
return #gone
