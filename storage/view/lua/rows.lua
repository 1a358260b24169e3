-- Included by scripts that write the view's rows. Carries out the command that stands in `list` from `first` to `last`: a
-- name, a key below the view, arguments. Beside Redis's own: `INDEX` takes rows of object id (20 bytes) and location
-- (30), into 65,536 hashes by the id's first two bytes, small enough for Redis's compact encoding; `UNINDEX` takes ids
-- and forgets their rows; `FORGET` deletes a string if it still has the given value.
local function write_row(view, list, first, last)
  local command, key = list[first], view .. list[first + 1]
  if command == 'INDEX' then
    local rows, at = list[first + 2], 1
    while at <= #rows do
      -- Rows of one hash that follow one another are set by one call.
      local hash, fields, count = string.sub(rows, at, at + 1), {}, 0
      repeat
        fields[count + 1], fields[count + 2] = string.sub(rows, at + 2, at + 19), string.sub(rows, at + 20, at + 49)
        count, at = count + 2, at + 50
      until count == 200 or string.sub(rows, at, at + 1) ~= hash
      redis.call('HSET', key .. string.format('%02x%02x', string.byte(hash, 1, 2)), unpack(fields, 1, count))
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
