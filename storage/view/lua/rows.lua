-- Included by scripts that write the view's rows. Carries out the command that stands in `list` from `first` to `last`: a
-- name, a key below the view, arguments. Beside Redis's own: `INDEX` takes rows of object id (20 bytes) and location
-- (30), into 65,536 hashes by the id's first two bytes, small enough for Redis's compact encoding; `UNINDEX` takes ids
-- and forgets their rows; `FORGET` deletes a string if it still has the given value.
local call, sub, byte = redis.call, string.sub, string.byte
local HEX = setmetatable({}, {__index = function(known, number)
  known[number] = string.format('%02x', number)
  return known[number]
end})
local function index(key, rows)
  local at = 1
  while at <= #rows do
    local high, low = byte(rows, at, at + 1)
    local hash, next_high, next_low = key .. HEX[high] .. HEX[low], byte(rows, at + 50, at + 51)
    if next_high ~= high or next_low ~= low then
      call('HSET', hash, sub(rows, at + 2, at + 19), sub(rows, at + 20, at + 49))
      at = at + 50
    else
      -- Rows of one hash that follow one another are set by one call.
      local start, fields, count = sub(rows, at, at + 1), {}, 0
      repeat
        fields[count + 1], fields[count + 2] = sub(rows, at + 2, at + 19), sub(rows, at + 20, at + 49)
        count, at = count + 2, at + 50
      until count == 200 or sub(rows, at, at + 1) ~= start
      call('HSET', hash, unpack(fields, 1, count))
    end
  end
end
local function write_row(view, list, first, last)
  local command, key = list[first], view .. list[first + 1]
  if command == 'INDEX' then
    index(key, list[first + 2])
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
