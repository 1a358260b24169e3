#!lua flags=allow-oom
-- Take out of the sets of principals what is neither queued nor held: a worker of a version that does not know these sets
-- took it out of the queues alone. Forgets principals that have nothing there.
-- KEYS[1] the epoch pointer. ARGV: prefix, for how long a principal counts from its last changeset on (ms), how many
-- principals, how many changesets of each. Returns how many were taken out. Cost: O(principals * changesets).
--include clock
local prefix, idle, most, look = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now, gone = now_ms(), 0
for _, by in ipairs(redis.call('ZRANGE', prefix .. 'principals', 0, most - 1)) do
  local left = 0
  for _, name in ipairs({'queued_by:', 'held_by:'}) do
    local own = prefix .. name .. by
    for _, id in ipairs(redis.call('ZRANGE', own, 0, look - 1)) do
      if redis.call('EXISTS', prefix .. 'work:' .. id) == 0 then
        gone = gone + redis.call('ZREM', own, id)
        redis.call('ZREM', prefix .. 'prioritized', id)
      end
    end
    left = left + redis.call('ZCARD', own)
  end
  if left == 0 and tonumber(redis.call('ZSCORE', prefix .. 'principals', by)) < now - idle then
    redis.call('ZREM', prefix .. 'principals', by)
  end
end
return gone
