-- Included by scripts that take locks, or ask who holds one. The owner of a lock has a lease, a key that its process renews
-- (beat.lua) and that expires soon after the process has died: a lock whose owner has none is free. So all locks of an
-- owner end together, and are kept by writing one key. An owner without a lease has no slash in its name: of an older
-- version, or one that takes a lock for a fixed time. Its locks end when they expire.
local function needs_lease(owner) return string.find(owner, '/', 1, true) ~= nil end
local function begin_lease(prefix, owner, ttl)
  if needs_lease(owner) then redis.call('SET', prefix .. 'lease:' .. owner, '', 'PX', ttl) end
end
local function is_alive(prefix, owner)
  return not needs_lease(owner) or redis.call('EXISTS', prefix .. 'lease:' .. owner) == 1
end
