-- Included by scripts that ask whether changesets are decided. One has an outcome in the view; or it has been archived:
-- then it is not behind the mark, and not among those that the mark has passed undecided.
-- Lua compares texts as the locale of Redis has it (`locale-collate`), which may put letters before digits: bytes here.
local function is_up_to(id, mark)
  for i = 1, math.min(#id, #mark) do
    local a, b = string.byte(id, i), string.byte(mark, i)
    if a ~= b then return a < b end
  end
  return #id <= #mark
end
local function decisions(view)
  local mark = redis.call('HGET', view .. 'head', 'mark') or ''
  return function(id)
    return redis.call('EXISTS', view .. 'outcome:' .. id) == 1
      or (is_up_to(id, mark) and redis.call('HEXISTS', view .. 'undecided', id) == 0)
  end
end
