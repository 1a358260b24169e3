#!lua
-- Decide whether a message should be sent to the workers: if there is work, and fewer are outstanding than allowed.
-- Outstanding messages are tokens with deadlines, so lost ones stop counting by themselves.
-- Deadlines are by Redis's clock: if a sender's clock were hours ahead, its lost messages would count for hours.
-- While one is outstanding, changesets gather for the run that follows it: another message is sent only where a batch of
-- them waits, or where something has waited for as long as hardly any batch takes (it may hang, or have died), or where a
-- run that ends has left some. A run that let others begin (aside.lua) is not waited for.
-- KEYS[1] the epoch pointer. ARGV: prefix, kind ('commit' or 'merge'), life of a token (ms), most outstanding, new
-- token, token that ends with this call or ''; and for commits: only slices last tried before this time (ms) count as
-- work ('' for all; a run that could claim nothing must not call itself again at once); how many changesets are a batch
-- ('' if they do not gather), the same while several principals are active, for how long a principal counts from its last
-- changeset on (ms), and how long ago (ms) the run that ends has applied its entry ('' where none did).
-- Returns 1 if the caller is to send a message with the new token; 2 if it should wait a moment first, since changesets
-- came while the run was under way, so more will, and they are not a batch yet; not while several principals are active,
-- of whom one may wait for a single changeset. Cost: O(log(tokens) + 64).
--include clock
--include leases
local prefix, kind, life, limit, token, done, tried_before, batch, shared_batch, active_for, applied = unpack(ARGV)
local tokens, aside, ready = prefix .. 'messages:' .. kind, prefix .. 'messages:aside', prefix .. 'ready'
local now = now_ms()
-- How long (ms) work waits for the run under way before another one is called.
local patience = 250
if done ~= '' then
  redis.call('ZREM', tokens, done)
  redis.call('SREM', aside, done)
end
local work, left = false, false
if kind == 'merge' then
  local epoch = redis.call('GET', KEYS[1]) or ''
  local committed, merged = unpack(redis.call('HMGET', prefix .. 'v:' .. epoch .. ':head', 'committed', 'merged'))
  work = committed and tonumber(committed) > tonumber(merged)
else
  local highest = tried_before == '' and '+inf' or '(' .. tried_before
  local slices = redis.call('ZRANGEBYSCORE', ready, '-inf', highest, 'WITHSCORES', 'LIMIT', 0, 64)
  for i = 1, #slices, 2 do
    local holder = redis.call('GET', prefix .. 'lock:slice:' .. slices[i])
    if not holder or not is_alive(prefix, holder) then
      work = true
      -- Work that nobody has tried is first; its time is below 0 (queueing.lua).
      left = done ~= '' and tried_before == '' and tonumber(slices[i + 1]) >= 0
      if left or done == '' then break end
    end
  end
  -- A suspect that rests calls for a run as well: it finds nothing, and its own question does not count suspects.
  if not work and tried_before == '' then work = redis.call('ZCOUNT', prefix .. 'suspects', '-inf', now) > 0 end
end
if not work then return 0 end
redis.call('ZREMRANGEBYSCORE', tokens, '-inf', now)
local outstanding = redis.call('ZCARD', tokens)
if outstanding >= tonumber(limit) then return 0 end
local function send() redis.call('ZADD', tokens, now + life, token) end
if kind == 'merge' or batch == '' or left then
  send()
  return 1
end

local several = redis.call('ZCOUNT', prefix .. 'principals', now - tonumber(active_for), '+inf') > 1

-- Whether less than a batch waits, and nothing that a dead run has claimed: that is taken over at once.
local function gathers()
  local waiting = redis.call('ZCARD', prefix .. 'queued')
  for _, owner in ipairs(redis.call('ZRANGE', prefix .. 'trying', 0, -1)) do
    if not is_alive(prefix, owner) then return false end
    waiting = waiting - redis.call('HSTRLEN', prefix .. 'tried', owner) / 26
  end
  return waiting < tonumber(several and shared_batch or batch)
end

-- Whether the oldest work that nobody has tried came at least so long ago (ms).
local function new_since(least)
  local oldest = redis.call('ZRANGEBYSCORE', ready, '-inf', '(0', 'WITHSCORES', 'LIMIT', 0, 1)
  return oldest[2] and now - (tonumber(oldest[2]) + 1e13) >= least
end

local function is_overdue()
  return new_since(patience) or redis.call('ZCOUNT', ready, 0, now - patience) > 0
    or redis.call('ZCOUNT', prefix .. 'suspects', '-inf', now - patience) > 0
end

if outstanding > redis.call('ZINTERCARD', 2, tokens, aside) and gathers() and not is_overdue() then return 0 end
send()
return applied ~= '' and not several and new_since(tonumber(applied)) and gathers() and 2 or 1
