#!lua
-- Take one chunk of a segment into an epoch of the view that is being loaded.
-- KEYS[1] the epoch pointer (for routing). ARGV: prefix, epoch, the chunk: a list of commands in msgpack, each a name, a
-- key below the view and arguments; for `INDEX` see apply.lua.
-- Written in log order, values only: taken twice, it converges. Returns the number of commands.
-- Errors: STALE the epoch is not being loaded any more. Cost: O(rows).
local prefix, epoch = ARGV[1], ARGV[2]
if tonumber(redis.call('ZSCORE', prefix .. 'epochs', epoch) or 0) == 0 then
  return redis.error_reply('STALE the epoch that was being loaded is gone')
end
local view = prefix .. 'v:' .. epoch .. ':'
local made = cmsgpack.unpack(ARGV[3])
for i = 1, #made do
  local command = made[i]
  if command[1] == 'INDEX' then
    local rows, places = command[3], view .. command[2]
    for j = 1, #rows, 50 do
      redis.call('HSET', places .. string.format('%02x%02x', string.byte(rows, j, j + 1)),
        string.sub(rows, j + 2, j + 19), string.sub(rows, j + 20, j + 49))
    end
  else
    redis.call(command[1], view .. command[2], unpack(command, 3))
  end
end
return #made
