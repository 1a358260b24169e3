-- Included by scripts that change advisory claims, behind `prefix` and clock. A claim is a hash of its principal, intent,
-- end (ms, by the clock of Redis) and paths, joined by NUL; `/` is the empty path. Beside it stand: all claims by their end,
-- those of each principal, and one set of all paths, each with a NUL and the id, in the order of bytes.
local ends_at, paths_at = prefix .. 'advisory_claims', prefix .. 'advisory_claims_on'
local function claims_of(principal) return prefix .. 'advisory_claims_of:' .. principal end
local function each_path(paths) return string.gmatch(paths .. '\0', '([^%z]*)%z') end
local function tell(event, id, principal, intent, ends, paths)
  redis.call('PUBLISH', prefix .. 'advisory_claim_events', table.concat({event, id, principal, intent, ends, paths}, '\0'))
end
local function end_claim(id)
  local record = prefix .. 'advisory_claim:' .. id
  local principal, intent, ends, paths = unpack(redis.call('HMGET', record, 'principal', 'intent', 'ends', 'paths'))
  redis.call('ZREM', ends_at, id)
  if not principal then return 0 end
  redis.call('DEL', record)
  redis.call('ZREM', claims_of(principal), id)
  for path in each_path(paths) do redis.call('ZREM', paths_at, path .. '\0' .. id) end
  tell('claim-ended', id, principal, intent, ends, paths)
  return 1
end
local function end_expired(now, most)
  local expired = redis.call('ZRANGEBYSCORE', ends_at, '-inf', now, 'LIMIT', 0, most)
  for _, id in ipairs(expired) do end_claim(id) end
  return #expired
end
