-- Included by scripts that count, or ask, how fast a slice's changesets leave its queue. What is counted stands in one text
-- for each slice, `last busy count`: while the queue had something in it, `count` changesets left it in `busy` ms, up to
-- the time `last` (ms, by the clock of Redis), which is 0 while the queue is empty. So time without work does not count.
-- The first batch after such a time only begins it: nobody knows when its work began. Older work counts for less: both
-- numbers are halved each time when more than WINDOW ms are counted. It expires.
local WINDOW, KEPT = 60000, 900000
local function throughput_of(prefix, slice)
  local last, busy, count = string.match(redis.call('GET', prefix .. 'throughput:' .. slice) or '', '^(%d+) (%d+) (%d+)$')
  return tonumber(last or '0'), tonumber(busy or '0'), tonumber(count or '0')
end
local function count_decided(prefix, slice, gone, is_empty, now)
  local last, busy, count = throughput_of(prefix, slice)
  if last > 0 then
    busy, count = busy + math.max(0, now - last), count + gone
    if busy > WINDOW then busy, count = math.floor(busy / 2), math.floor(count / 2) end
  end
  local text = string.format('%.0f %.0f %.0f', is_empty and 0 or now, busy, count)
  redis.call('SET', prefix .. 'throughput:' .. slice, text, 'PX', KEPT)
end
