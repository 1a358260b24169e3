-- Included by scripts that read or change which undecided changeset is to replace another: the first that was queued.
local function successor_key(prefix, old) return prefix .. 'successor:' .. old end
local function name_successor(prefix, decided, old, id)
  local other = redis.call('GET', successor_key(prefix, old))
  if not other or decided(other) then redis.call('SET', successor_key(prefix, old), id) end
end
local function forget_successor(prefix, old, id)
  if redis.call('GET', successor_key(prefix, old)) == id then redis.call('DEL', successor_key(prefix, old)) end
end
