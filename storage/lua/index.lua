#!lua
-- Remember where objects are stored. Objects are content-addressed and immutable, so rows may run ahead of `applied`.
-- KEYS[1] the epoch pointer. ARGV: prefix, epoch, rows of 50 bytes: object id (20), location (30).
-- Rows stand in 65,536 hashes by the id's first two bytes, small enough for Redis's compact encoding.
-- Returns the number of rows; 0, and writes nothing, below an epoch that is neither published nor being loaded, which
-- nobody would ever delete. Cost: O(rows).
if redis.call('GET', KEYS[1]) ~= ARGV[2] and tonumber(redis.call('ZSCORE', ARGV[1] .. 'epochs', ARGV[2]) or 0) == 0 then
  return 0
end
local at, rows = ARGV[1] .. 'v:' .. ARGV[2] .. ':at:', ARGV[3]
for i = 1, #rows, 50 do
  redis.call('HSET', at .. string.format('%02x%02x', string.byte(rows, i, i + 1)),
    string.sub(rows, i + 2, i + 19), string.sub(rows, i + 20, i + 49))
end
return #rows / 50
