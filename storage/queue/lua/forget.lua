-- Included, behind successors, by scripts that take decided changesets out of the queues. Each of `gone` is {slice, id, files,
-- key, resolves}, the latter three as its `work` has them, false where it has none. What many have in common is one call.
local function in_parts(list, call)
  for i = 1, #list, 500 do call(unpack(list, i, math.min(i + 499, #list))) end
end
local function forget_work(prefix, gone)
  local ids, works, queues = {}, {}, {}
  for i, each in ipairs(gone) do
    local slice, id, files, key, resolves = unpack(each, 1, 5)
    ids[i], works[i] = id, prefix .. 'work:' .. id
    queues[slice] = queues[slice] or {}
    table.insert(queues[slice], id)
    for j = 1, #(files or ''), 8 do redis.call('ZREM', prefix .. 'on:' .. string.sub(files, j, j + 7), id) end
    if resolves then forget_successor(prefix, resolves, id) end
    -- From now on the view knows whose key it is. Another changeset's stays: it is not decided.
    local owner = key and redis.call('GET', prefix .. 'key:' .. key)
    if owner and string.sub(owner, 1, #id + 1) == id .. ' ' then redis.call('EXPIRE', prefix .. 'key:' .. key, 60) end
  end
  for slice, members in pairs(queues) do
    in_parts(members, function(...) redis.call('ZREM', prefix .. 'queue:' .. slice, ...) end)
  end
  in_parts(ids, function(...) redis.call('ZREM', prefix .. 'queued', ...) end)
  in_parts(works, function(...) redis.call('DEL', ...) end)
end
