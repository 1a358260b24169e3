#!lua flags=allow-oom
-- The heartbeat of a claim's owner: extend its lease, its locks and the append lock.
-- KEYS[1] the epoch pointer. ARGV: prefix, owner, life of locks (ms), the ids, in one string, of those that are tried from
-- now on if its worker dies ('' as before), then slice and id of each claimed changeset.
-- Returns 1, or 0 where the claim is gone. Cost: O(changesets + locks).
--include clock
local prefix, owner, ttl, tried = unpack(ARGV, 1, 4)
local deadline = now_ms() + ttl
if not redis.call('ZSCORE', prefix .. 'trying', owner) then return 0 end
redis.call('ZADD', prefix .. 'trying', deadline, owner)
if tried ~= '' then redis.call('HSET', prefix .. 'tried', owner, tried) end
local function keep(name)
  -- Behind the owner of the append lock stands the run of Redis (take.lua).
  if string.match(redis.call('GET', prefix .. name) or '', '^%S+') == owner then redis.call('PEXPIRE', prefix .. name, ttl) end
end
keep('ticket')
for i = 5, #ARGV, 2 do
  local slice, id = ARGV[i], ARGV[i + 1]
  local files = redis.call('HGET', prefix .. 'work:' .. id, 'files') or ''
  keep('lock:slice:' .. slice)
  for j = 1, #files, 8 do keep('lock:file:' .. string.sub(files, j, j + 7)) end
  redis.call('ZADD', prefix .. 'suspects', 'XX', deadline, id)
end
return 1
