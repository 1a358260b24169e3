#!lua
-- Take one chunk of a segment into an epoch of the view that is being loaded.
-- KEYS[1] the epoch pointer (for routing). ARGV: prefix, epoch, the chunk: a list of commands in msgpack, each a name, a
-- key below the view and arguments; see rows.lua.
-- In log order, but for INDEX and UNINDEX, which may come later; values only: taken twice, it converges. Returns the
-- number of commands.
-- Errors: STALE the epoch is not being loaded any more. Cost: O(rows).
--include rows
local prefix, epoch, chunk = unpack(ARGV)
if tonumber(redis.call('ZSCORE', prefix .. 'epochs', epoch) or 0) == 0 then
  return redis.error_reply('STALE the epoch that was being loaded is gone')
end
local view = prefix .. 'v:' .. epoch .. ':'
local made = cmsgpack.unpack(chunk)
for i = 1, #made do
  write_row(view, made[i], 1, #made[i])
end
return #made
