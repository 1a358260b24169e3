#!lua
-- Decide whether a message should be sent to the workers: where there is work, and fewer are outstanding than allowed.
-- Outstanding messages are tokens with deadlines, so lost ones stop counting by themselves.
-- KEYS[1] the epoch pointer. ARGV: prefix, kind ('commit' or 'merge'), now (ms), life of a token (ms), most
-- outstanding, new token, token that ends with this call or '', and for commits: only slices last tried before this
-- time (ms) count as work ('' for all; a run that could claim nothing must not call itself again at once).
-- Returns 1 if the caller is to send a message with the new token. Cost: O(log(tokens) + 64).
local prefix, kind, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
local tokens = prefix .. 'messages:' .. kind
if ARGV[7] ~= '' then redis.call('ZREM', tokens, ARGV[7]) end
local work = false
if kind == 'merge' then
  local epoch = redis.call('GET', KEYS[1]) or ''
  local counts = redis.call('HMGET', prefix .. 'v:' .. epoch .. ':head', 'committed', 'merged')
  work = counts[1] and tonumber(counts[1]) > tonumber(counts[2])
else
  local before = ARGV[8] == '' and '+inf' or '(' .. ARGV[8]
  for _, slice in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'ready', '-inf', before, 'LIMIT', 0, 64)) do
    if redis.call('EXISTS', prefix .. 'lock:slice:' .. slice) == 0 then work = true break end
  end
  -- A suspect that rests calls for a run as well: it finds nothing, and its own question does not count suspects.
  if not work and ARGV[8] == '' then
    local clock = redis.call('TIME')
    work = redis.call('ZCOUNT', prefix .. 'suspects', '-inf', clock[1] * 1000 + math.floor(clock[2] / 1000)) > 0
  end
end
if not work then return 0 end
redis.call('ZREMRANGEBYSCORE', tokens, '-inf', now)
if redis.call('ZCARD', tokens) >= tonumber(ARGV[5]) then return 0 end
redis.call('ZADD', tokens, now + tonumber(ARGV[4]), ARGV[6])
return 1
