#!lua flags=allow-oom
-- Apply one entry to the view: the only code that writes it.
-- KEYS[1] the epoch pointer. ARGV: prefix, epoch, '1' if that epoch is the published one ('0' while it is being
-- loaded), the entry's seq, the hash of the entry before it, then the rows as commands, each: number of arguments,
-- command (see rows.lua), key below the view, arguments; last the head's fields as `HSET head ...`.
-- Validates everything first; writes values (some only if there is none), never increments; writes the head, with
-- `applied`, last. So an interrupted run can be repeated. Returns 1 if applied, 0 if the view had it already.
-- Errors: STALE another epoch is published; GAP entries before it are missing; FORKED the view's last entry is not the
-- one that this entry follows. Cost: O(rows).
--include rows
--include parts
local prefix, epoch, published, seq, previous = unpack(ARGV, 1, 5)
seq = tonumber(seq)
if published == '1' and redis.call('GET', KEYS[1]) ~= epoch then
  return redis.error_reply('STALE another epoch of the view is published')
end
local view = prefix .. 'v:' .. epoch .. ':'
local applied, hash = unpack(redis.call('HMGET', view .. 'head', 'applied', 'hash'))
applied = tonumber(applied or '0')
if applied >= seq then return 0 end
if applied ~= seq - 1 then return redis.error_reply('GAP the view has applied ' .. applied) end
if applied > 0 and hash ~= previous then
  return redis.error_reply('FORKED entry ' .. applied .. ' of the view is not the one in the log')
end
-- Strings that follow one another are set by few calls: there is one for each changeset.
local at, strings = 6, {}
local function set_strings()
  if #strings == 0 then return end
  in_parts(strings, function(...) redis.call('MSET', ...) end)
  strings = {}
end
while at <= #ARGV do
  local last = at + 2 + tonumber(ARGV[at])
  if ARGV[at + 1] == 'SET' and last == at + 3 then
    strings[#strings + 1], strings[#strings + 2] = view .. ARGV[at + 2], ARGV[at + 3]
  else
    set_strings()
    write_row(view, ARGV, at + 1, last)
  end
  at = last + 1
end
set_strings()
if published == '1' then redis.call('PUBLISH', prefix .. 'applied', seq) end
return 1
