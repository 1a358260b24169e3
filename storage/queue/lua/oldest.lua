#!lua flags=no-writes
-- The oldest changeset that could be claimed. One whose base is undecided does not count: the base may be held for as
-- long as its writer likes.
-- KEYS[1] the epoch pointer. ARGV: prefix, how many at the front of `queued` are looked at.
-- Returns its id, false where there is none among these. Errors: ABSENT. Cost: O(those before it).
--include open_view
--include decided
local look, decided = tonumber(ARGV[2]), decisions(view)
local step = 100
for start = 0, look - 1, step do
  local ids = redis.call('ZRANGE', prefix .. 'queued', start, math.min(start + step, look) - 1)
  for _, id in ipairs(ids) do
    local base = redis.call('HGET', prefix .. 'work:' .. id, 'base')
    if not base or base == '' or decided(base) then return id end
  end
  if #ids < step then break end
end
return false
