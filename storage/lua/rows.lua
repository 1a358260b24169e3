-- Included by scripts that write the view's rows. Carries out the command that stands in `list` from `first` to `last`: a
-- name, a key below the view, arguments. Beside Redis's own: `INDEX` takes rows of object id (20 bytes) and location
-- (30), into 65,536 hashes by the id's first two bytes, small enough for Redis's compact encoding; `UNINDEX` takes ids
-- and forgets their rows; `FORGET` deletes a string if it still has the given value.
local function write_row(view, list, first, last)
  local command, key = list[first], view .. list[first + 1]
  if command == 'INDEX' then
    local rows = list[first + 2]
    for i = 1, #rows, 50 do
      redis.call('HSET', key .. string.format('%02x%02x', string.byte(rows, i, i + 1)),
        string.sub(rows, i + 2, i + 19), string.sub(rows, i + 20, i + 49))
    end
  elseif command == 'UNINDEX' then
    local ids = list[first + 2]
    for i = 1, #ids, 20 do
      redis.call('HDEL', key .. string.format('%02x%02x', string.byte(ids, i, i + 1)), string.sub(ids, i + 2, i + 19))
    end
  elseif command == 'FORGET' then
    if redis.call('GET', key) == list[first + 2] then redis.call('DEL', key) end
  else
    redis.call(command, key, unpack(list, first + 2, last))
  end
end
