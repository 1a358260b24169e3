#!lua
-- Decide whether a message should be sent to the workers: if there is work, and fewer are outstanding than allowed.
-- Outstanding messages are tokens with deadlines, so lost ones stop counting by themselves.
-- Deadlines are by Redis's clock: if a sender's clock were hours ahead, its lost messages would count for hours.
-- While one is outstanding, changesets gather for the run that follows it: another message is sent only where a batch of
-- them is queued, or where one has waited for as long as hardly any batch takes (it may hang, or have died).
-- KEYS[1] the epoch pointer. ARGV: prefix, kind ('commit' or 'merge'), life of a token (ms), most outstanding, new
-- token, token that ends with this call or ''; and for commits: only slices last tried before this time (ms) count as
-- work ('' for all; a run that could claim nothing must not call itself again at once); how many changesets are a batch
-- ('' if they do not gather), the same while several principals are active, for how long a principal counts from its last
-- changeset on (ms), and how long ago (ms) the run that ends has applied its entry ('' where none did).
-- Returns 1 if the caller is to send a message with the new token; 2 if it should wait a moment first, since changesets
-- came while the run was under way, so more will, and they are not a batch yet. Cost: O(log(tokens) + 64).
--include clock
--include leases
local prefix, kind, life, limit, token, done, tried_before, batch, shared_batch, active_for, applied = unpack(ARGV)
local tokens, now = prefix .. 'messages:' .. kind, now_ms()
-- How long (ms) a changeset that nobody has tried waits for the run under way before another one is called.
local patience = 250
if done ~= '' then redis.call('ZREM', tokens, done) end
local work = false
if kind == 'merge' then
  local epoch = redis.call('GET', KEYS[1]) or ''
  local committed, merged = unpack(redis.call('HMGET', prefix .. 'v:' .. epoch .. ':head', 'committed', 'merged'))
  work = committed and tonumber(committed) > tonumber(merged)
else
  local highest = tried_before == '' and '+inf' or '(' .. tried_before
  for _, slice in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'ready', '-inf', highest, 'LIMIT', 0, 64)) do
    local holder = redis.call('GET', prefix .. 'lock:slice:' .. slice)
    if not holder or not is_alive(prefix, holder) then work = true break end
  end
  -- A suspect that rests calls for a run as well: it finds nothing, and its own question does not count suspects.
  if not work and tried_before == '' then work = redis.call('ZCOUNT', prefix .. 'suspects', '-inf', now) > 0 end
end
if not work then return 0 end
redis.call('ZREMRANGEBYSCORE', tokens, '-inf', now)
local outstanding = redis.call('ZCARD', tokens)
if outstanding >= tonumber(limit) then return 0 end

-- Whether less than a batch is queued.
local function is_little()
  if batch == '' then return false end
  local several = redis.call('ZCOUNT', prefix .. 'principals', now - tonumber(active_for), '+inf') > 1
  return redis.call('ZCARD', prefix .. 'queued') < tonumber(several and shared_batch or batch)
end

-- Whether the oldest work that nobody has tried came at least so long ago (ms). Its time is below 0 (queueing.lua).
local function waits_for(least)
  local oldest = redis.call('ZRANGEBYSCORE', prefix .. 'ready', '-inf', '(0', 'WITHSCORES', 'LIMIT', 0, 1)
  return oldest[2] and now - (tonumber(oldest[2]) + 1e13) >= least
end

-- Whether a run has died: what it leaves is taken over at once.
local function has_died()
  for _, owner in ipairs(redis.call('ZRANGE', prefix .. 'trying', 0, -1)) do
    if not is_alive(prefix, owner) then return true end
  end
  return false
end

local gathers = kind == 'commit' and (outstanding > 0 or applied ~= '') and is_little() and not has_died()
if gathers and outstanding > 0 and not waits_for(patience) then return 0 end
redis.call('ZADD', tokens, now + life, token)
return gathers and applied ~= '' and waits_for(tonumber(applied)) and 2 or 1
