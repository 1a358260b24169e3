-- Included by claim.lua: claiming by turns, where several principals or priorities meet.
-- The slices with the lowest turns come first, of each the changesets with the lowest, and of one principal so many that
-- all have their part of the claim. Never is one taken before its base, nor before an older one of its slice that changes
-- one of its paths and could be decided now: those go with it, or it waits for them.
-- What has no lock names, since it changes too many files, waits for all that is older in its slice, and what is younger
-- waits for it.
local DEEP = 16 -- how far bases and older ones are followed
local OLDER = 32 -- how many older ones that want the same file are looked at
local PAGE = 100

local share, cut, taken_of, highest = 0, {}, {}, 0

local function older_than(id, slice, names)
  local found, many = {}, false
  local function look(key)
    local ids = redis.call('ZRANGE', key, '-', '(' .. id, 'BYLEX', 'LIMIT', 0, OLDER)
    many = many or #ids == OLDER
    for _, other in ipairs(ids) do found[#found + 1] = other end
  end
  if names == '' then look(prefix .. 'queue:' .. slice) end
  for i = 1, #names, 8 do look(prefix .. 'on:' .. string.sub(names, i, i + 7)) end
  look(prefix .. 'wide:' .. slice)
  return found, many
end

-- As `choose`, by turns.
local function choose_by_turn(slice)
  local order, queue = prefix .. 'order:' .. slice, prefix .. 'queue:' .. slice
  local take, files, here, mine, answers = {}, {}, {}, {}, {}
  local local_changes, local_bytes, full, kept_back = 0, 0, false, 0
  local add

  -- 'taken', 'later' where it could be decided now and is not taken, or 'never' where it could not.
  local function ask(id, depth)
    local work = prefix .. 'work:' .. id
    local where, base, count, names, pack, key, suspect, size, resolves, by, priority = unpack(redis.call('HMGET',
      work, 'slice', 'base', 'count', 'files', 'pack', 'key', 'deaths', 'size', 'resolves', 'by', 'priority'))
    if depth > 0 and where ~= slice then return 'never' end
    if not count or decided(id) then
      if depth == 0 then
        forget_work(prefix, {{slice, id, names, key, resolves, by, priority, redis.call('HGET', work, 'digests')}})
      end
      return 'never'
    end
    if not redis.call('ZSCORE', queue, id) then
      if depth == 0 then redis.call('ZREM', order, id) end
      return 'never'
    end
    if suspect then return 'never' end
    by = by or ''
    if depth == 0 and (taken_of[by] or 0) + (mine[by] or 0) >= share then
      kept_back = kept_back + 1
      return 'later'
    end
    if base ~= '' and not (here[base] or picked[base] or decided(base)) then
      local answer = add(base, depth + 1)
      if answer ~= 'taken' then return answer end
    end
    local before, many = older_than(id, slice, names)
    if many then return 'later' end
    for _, other in ipairs(before) do
      if add(other, depth + 1) == 'later' then return 'later' end
    end
    count, size = tonumber(count), tonumber(size or most_bytes / usual)
    local ahead = #claimed + #take
    if ahead >= most or (ahead > 0 and (changes + local_changes + count > most_changes
        or bytes + local_bytes + size > most_bytes)) then
      full = true
      return 'later'
    end
    take[#take + 1] = {slice, id, pack}
    here[id], principals[by], mine[by] = true, true, (mine[by] or 0) + 1
    local_changes, local_bytes = local_changes + count, local_bytes + size
    for i = 1, #names, 8 do files[#files + 1] = prefix .. 'lock:file:' .. string.sub(names, i, i + 7) end
    return 'taken'
  end

  function add(id, depth)
    if here[id] or picked[id] then return 'taken' end
    if not answers[id] then answers[id] = depth > DEEP and 'later' or ask(id, depth) end
    return answers[id]
  end

  local left, reached
  for start = 0, look - 1, PAGE do
    local rows = redis.call('ZRANGE', order, start, start + PAGE - 1, 'WITHSCORES')
    for i = 1, #rows, 2 do
      if full or kept_back >= PAGE then break end
      local id, turn = rows[i], tonumber(rows[i + 1])
      local answer = not picked[id] and add(id, 0)
      if answer == 'taken' then
        reached = math.max(reached or turn, turn)
      elseif answer == 'later' or answer == 'never' then
        left = left or turn
      end
    end
    if #rows < 2 * PAGE or full or kept_back >= PAGE then break end
  end
  cut[slice] = kept_back > 0 or nil
  -- Where nothing can be taken now, others come first until claims have reached the next turn.
  local head = left or reached
  if #take == 0 and kept_back == 0 and not full and head then head = math.max(head, highest + 1) end
  if head then redis.call('ZADD', prefix .. 'heads', 'XX', head, slice) end
  highest = math.max(highest, reached or highest)
  for by, number in pairs(mine) do taken_of[by] = (taken_of[by] or 0) + number end
  if redis.call('ZCARD', queue) == 0 then leave_ready(prefix, slice) end
  return take, files, local_changes, local_bytes, here, full
end

-- Each principal has its part at first; where some have less, the others fill the claim up to `most_of_one`.
local function claim_by_turns(active, most_of_one)
  local slices_by_turn = redis.call('ZRANGE', prefix .. 'heads', 0, most_slices * 2 - 1)
  local before = tonumber(redis.call('GET', prefix .. 'turn') or '0')
  highest = before
  if active < 2 then most_of_one = most end
  for pass = 1, 2 do
    share = pass == 1 and math.max(1, math.min(most_of_one, math.floor(most / active))) or most_of_one
    for _, slice in ipairs(slices_by_turn) do
      if pass == 1 or cut[slice] then
        if #claimed >= most or (slices >= most_slices and not locked[slice]) then break end
        if claim_slice(slice, choose_by_turn) then break end
      end
    end
    if #claimed >= most_of_one then break end
  end
  if highest > before then redis.call('SET', prefix .. 'turn', highest) end
end
