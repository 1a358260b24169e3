#!lua flags=allow-oom
-- Set a short text: a cursor, or which run of Redis is recovered. There is one key for each such name, so it may be set
-- while Redis is full.
-- KEYS[1] the epoch pointer. ARGV: prefix, key behind it, text. Cost: O(1).
local prefix, name, text = unpack(ARGV)
redis.call('SET', prefix .. name, text)
return 1
