#!lua
-- Give back what a batch claimed: remove the decided from the queues, and locks that are still the owner's.
-- KEYS[1] the epoch pointer. ARGV: prefix, owner, then slice and id of each claimed changeset.
-- What is decided is asked of the view, so a batch that failed half way gives back just the rest.
-- Returns how many were removed. Cost: O(changesets + locks).
local prefix, owner, removed = ARGV[1], ARGV[2], 0
local epoch = redis.call('GET', KEYS[1]) or ''
local outcome = prefix .. 'v:' .. epoch .. ':outcome:'
local function unlock(name)
  if redis.call('GET', prefix .. name) == owner then redis.call('DEL', prefix .. name) end
end
local slices = {}
for i = 3, #ARGV, 2 do
  local slice, id = ARGV[i], ARGV[i + 1]
  local work = prefix .. 'work:' .. id
  slices[slice] = true
  local files, key = unpack(redis.call('HMGET', work, 'files', 'key'))
  files = files or ''
  for j = 1, #files, 8 do unlock('lock:file:' .. string.sub(files, j, j + 7)) end
  if redis.call('EXISTS', outcome .. id) == 1 then
    redis.call('ZREM', prefix .. 'queue:' .. slice, id)
    redis.call('ZREM', prefix .. 'queued', id)
    if redis.call('ZREM', prefix .. 'held:' .. slice, id) == 1 then redis.call('ZREM', prefix .. 'held', id) end
    for j = 1, #files, 8 do redis.call('ZREM', prefix .. 'on:' .. string.sub(files, j, j + 7), id) end
    redis.call('DEL', work)
    -- Those who stack on it soon save a look at its pack.
    redis.call('EXPIRE', prefix .. 'manifest:' .. id, 60)
    -- From now on the view knows whose key it is. Another changeset's stays: it is not decided.
    local owner = key and redis.call('GET', prefix .. 'key:' .. key)
    if owner and string.sub(owner, 1, #id + 1) == id .. ' ' then redis.call('EXPIRE', prefix .. 'key:' .. key, 60) end
    removed = removed + 1
  end
end
for slice in pairs(slices) do
  unlock('lock:slice:' .. slice)
  if redis.call('ZCARD', prefix .. 'queue:' .. slice) == 0 then redis.call('ZREM', prefix .. 'ready', slice) end
end
return removed
