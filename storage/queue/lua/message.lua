#!lua
-- Decide whether a message should be sent to the workers: where there is work, and fewer are outstanding than allowed.
-- Outstanding messages are tokens with deadlines, so lost ones stop counting by themselves.
-- Deadlines are by the clock of Redis: by a sender's, which may be wrong by hours, a lost message would count as long.
-- KEYS[1] the epoch pointer. ARGV: prefix, kind ('commit' or 'merge'), life of a token (ms), most outstanding, new
-- token, token that ends with this call or '', and for commits: only slices last tried before this time (ms) count as
-- work ('' for all; a run that could claim nothing must not call itself again at once).
-- Returns 1 if the caller is to send a message with the new token. Cost: O(log(tokens) + 64).
local prefix, kind = ARGV[1], ARGV[2]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local tokens = prefix .. 'messages:' .. kind
if ARGV[6] ~= '' then redis.call('ZREM', tokens, ARGV[6]) end
local work = false
if kind == 'merge' then
  local epoch = redis.call('GET', KEYS[1]) or ''
  local counts = redis.call('HMGET', prefix .. 'v:' .. epoch .. ':head', 'committed', 'merged')
  work = counts[1] and tonumber(counts[1]) > tonumber(counts[2])
else
  local before = ARGV[7] == '' and '+inf' or '(' .. ARGV[7]
  for _, slice in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'ready', '-inf', before, 'LIMIT', 0, 64)) do
    if redis.call('EXISTS', prefix .. 'lock:slice:' .. slice) == 0 then work = true break end
  end
  -- A suspect that rests calls for a run as well: it finds nothing, and its own question does not count suspects.
  if not work and ARGV[7] == '' then work = redis.call('ZCOUNT', prefix .. 'suspects', '-inf', now) > 0 end
end
if not work then return 0 end
redis.call('ZREMRANGEBYSCORE', tokens, '-inf', now)
if redis.call('ZCARD', tokens) >= tonumber(ARGV[4]) then return 0 end
redis.call('ZADD', tokens, now + tonumber(ARGV[3]), ARGV[5])
return 1
