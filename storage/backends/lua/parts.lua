-- Included by scripts that give one command many arguments: as many at once as Lua can.
local function in_parts(list, call)
  for i = 1, #list, 500 do call(unpack(list, i, math.min(i + 499, #list))) end
end
local function count_existing(keys)
  local count = 0
  in_parts(keys, function(...) count = count + redis.call('EXISTS', ...) end)
  return count
end
