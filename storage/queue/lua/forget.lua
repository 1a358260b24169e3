-- Included, behind successors, by scripts that take decided changesets out of the queues. `files` and `key` are those of the
-- changeset's `work`, false where it has none.
local function forget_work(prefix, slice, id, files, key)
  redis.call('ZREM', prefix .. 'queue:' .. slice, id)
  redis.call('ZREM', prefix .. 'queued', id)
  for i = 1, #(files or ''), 8 do redis.call('ZREM', prefix .. 'on:' .. string.sub(files, i, i + 7), id) end
  forget_successor(prefix, prefix .. 'work:' .. id, id)
  redis.call('DEL', prefix .. 'work:' .. id)
  -- From now on the view knows whose key it is. Another changeset's stays: it is not decided.
  local owner = key and redis.call('GET', prefix .. 'key:' .. key)
  if owner and string.sub(owner, 1, #id + 1) == id .. ' ' then redis.call('EXPIRE', prefix .. 'key:' .. key, 60) end
end
