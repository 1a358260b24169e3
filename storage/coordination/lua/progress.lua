#!lua flags=no-writes
-- How a changeset that is queued gets on in its slice.
-- KEYS[1] the epoch pointer. ARGV: prefix, slice, id, how many of the newest decided changesets of each status are looked
-- at, how many ids are returned, the statuses.
-- Returns {its position in the queue or false, decided, ms in which they were, how many that were submitted later were
-- decided before it, 1 if these are all else 0, the newest of them}.
-- Errors: ABSENT. Cost: O(those looked at).
--include open_view
--include clock
--include decided
--include throughput
local slice, id, look, most = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local last, busy, count = throughput_of(prefix, slice)
if last > 0 then busy = busy + math.max(0, now_ms() - last) end
local passed, complete = {}, is_up_to(id, redis.call('HGET', view .. 'head', 'mark') or '') and 0 or 1
for i = 6, #ARGV do
  local key = view .. 'decided:' .. slice .. ':' .. ARGV[i]
  local newest = redis.call('ZREVRANGE', key, 0, look - 1, 'WITHSCORES')
  for j = 1, #newest, 2 do
    if not is_up_to(newest[j], id) then passed[#passed + 1] = {newest[j], tonumber(newest[j + 1])} end
  end
  if #newest == 2 * look and redis.call('ZCARD', key) > look then complete = 0 end
end
table.sort(passed, function(a, b) return a[2] > b[2] end)
local ids = {}
for i = 1, math.min(most, #passed) do ids[i] = passed[i][1] end
return {redis.call('ZRANK', prefix .. 'queue:' .. slice, id), count, busy, #passed, complete, ids}
