-- Included, behind successors and parts, by scripts that take decided changesets out of the queues. Each of `gone` is {slice,
-- id, files, key, resolves, by, priority, digests}, the latter six as its `work` has them, false where it has none. What many have in
-- common is one call.
local function leave_ready(prefix, slice)
  redis.call('ZREM', prefix .. 'ready', slice)
  redis.call('ZREM', prefix .. 'heads', slice)
end
local function forget_work(prefix, gone)
  local ids, works, sets = {}, {}, {}
  local function leave(key, id)
    sets[key] = sets[key] or {}
    table.insert(sets[key], id)
  end
  for i, each in ipairs(gone) do
    local slice, id, files, key, resolves, by, priority, digests = unpack(each, 1, 8)
    ids[i], works[i] = id, prefix .. 'work:' .. id
    leave(prefix .. 'queue:' .. slice, id)
    leave(prefix .. 'order:' .. slice, id)
    if by then leave(prefix .. 'queued_by:' .. by, id) end
    if priority then leave(prefix .. 'prioritized', id) end
    if files == '' then leave(prefix .. 'wide:' .. slice, id) end
    for j = 1, #(files or ''), 8 do redis.call('ZREM', prefix .. 'on:' .. string.sub(files, j, j + 7), id) end
    for j = 1, #(digests or ''), 8 do leave(prefix .. 'of:' .. string.sub(digests, j, j + 7), id) end
    if resolves then forget_successor(prefix, resolves, id) end
    -- From now on the view knows whose key it is. Another changeset's stays: it is not decided.
    local owner = key and redis.call('GET', prefix .. 'key:' .. key)
    if owner and string.sub(owner, 1, #id + 1) == id .. ' ' then redis.call('EXPIRE', prefix .. 'key:' .. key, 60) end
  end
  for key, members in pairs(sets) do
    in_parts(members, function(...) redis.call('ZREM', key, ...) end)
  end
  in_parts(ids, function(...) redis.call('ZREM', prefix .. 'queued', ...) end)
  in_parts(works, function(...) redis.call('DEL', ...) end)
end
