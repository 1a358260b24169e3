#!lua
-- Decide whether a message should be sent to the workers: if there is work, and fewer are outstanding than allowed.
-- Outstanding messages are tokens with deadlines, so lost ones stop counting by themselves.
-- Deadlines are by Redis's clock: if a sender's clock were hours ahead, its lost messages would count for hours.
-- KEYS[1] the epoch pointer. ARGV: prefix, kind ('commit' or 'merge'), life of a token (ms), most outstanding, new
-- token, token that ends with this call or '', and for commits: only slices last tried before this time (ms) count as
-- work ('' for all; a run that could claim nothing must not call itself again at once).
-- Returns 1 if the caller is to send a message with the new token. Cost: O(log(tokens) + 64).
--include clock
--include leases
local prefix, kind, life, limit, token, done, tried_before = unpack(ARGV)
local tokens, now = prefix .. 'messages:' .. kind, now_ms()
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
if redis.call('ZCARD', tokens) >= tonumber(limit) then return 0 end
redis.call('ZADD', tokens, now + life, token)
return 1
