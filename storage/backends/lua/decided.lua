-- Included by scripts that ask whether changesets are decided: one that has an outcome in the view, or that has been
-- archived, which means that it is not above the low watermark, and not among the undecided ones below it.
-- Lua compares texts by Redis's locale (`locale-collate`), which may sort letters before digits; so compare bytes here.
local function is_up_to(id, mark)
  for i = 1, math.min(#id, #mark) do
    local a, b = string.byte(id, i), string.byte(mark, i)
    if a ~= b then return a < b end
  end
  return #id <= #mark
end
local function decisions(view)
  local mark = redis.call('HGET', view .. 'head', 'mark') or ''
  return function(id, has_no_outcome) -- as far as the caller knows
    return (not has_no_outcome and redis.call('EXISTS', view .. 'outcome:' .. id) == 1)
      or (is_up_to(id, mark) and redis.call('HEXISTS', view .. 'undecided', id) == 0)
  end
end
