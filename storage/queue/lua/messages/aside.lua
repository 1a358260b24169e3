#!lua flags=allow-oom
-- Let others begin while a run that takes long is under way: its message counts as outstanding, and nobody waits for it.
-- Also while Redis is full, since the run goes on then.
-- KEYS[1] the epoch pointer. ARGV: prefix, token of the message, seconds after which it is forgotten if nobody ends it.
-- Returns nothing. Cost: O(1).
local aside = ARGV[1] .. 'messages:aside'
redis.call('SADD', aside, ARGV[2])
redis.call('EXPIRE', aside, ARGV[3])
