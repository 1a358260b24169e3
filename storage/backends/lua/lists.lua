-- Included by scripts whose arguments behind the prefix are lists, each led by its length. Each call of `next_list` reads
-- one more of them, and returns what `read` makes of its items.
local next_argument = 2
local function next_list(read)
  local results, count = {}, tonumber(ARGV[next_argument])
  for i = 1, count do results[i] = read(ARGV[next_argument + i]) end
  next_argument = next_argument + 1 + count
  return results
end
