#!lua flags=allow-oom
-- End advisory claims: one by its id, or those that have expired. It frees memory.
-- KEYS[1] the epoch pointer. ARGV: prefix, the id or '', how many of those that have expired.
-- Returns how many were ended. Each is told on the channel of their events. Cost: O(their paths).
local prefix, id, most = unpack(ARGV)
--include clock
--include advisory_claims
if id ~= '' then return end_claim(id) end
return end_expired(now_ms(), tonumber(most))
