#!lua
-- Let an advisory claim end at another time, counted from now, and tell it on the channel of their events.
-- KEYS[1] the epoch pointer. ARGV: prefix, id, life (ms), "1" with a new intent behind it, or "".
-- Returns its end (ms, by the clock of Redis), 0 where it has ended. Cost: O(log(claims)).
local prefix, id, life, has_intent, new_intent = unpack(ARGV)
--include clock
--include advisory_claims
local record, now = prefix .. 'advisory_claim:' .. id, now_ms()
local principal, intent, ends, paths = unpack(redis.call('HMGET', record, 'principal', 'intent', 'ends', 'paths'))
if not principal or tonumber(ends) <= now then return 0 end
ends = now + tonumber(life)
if has_intent == '1' then intent = new_intent end
redis.call('HSET', record, 'ends', ends, 'intent', intent)
redis.call('ZADD', ends_at, ends, id)
redis.call('ZADD', claims_of(principal), ends, id)
tell('claimed', id, principal, intent, ends, paths)
return ends
