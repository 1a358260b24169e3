#!lua flags=no-writes
-- Which advisory claims are on paths of some ranges.
-- KEYS[1] the epoch pointer. ARGV: prefix, a principal whose claims are left out or '', how many at most, how many are
-- looked at, then the ranges of the set of paths, each as two bounds of ZRANGEBYLEX.
-- Returns path, NUL and id of each, in the order of the ranges. Cost: O(ranges * log(paths of all claims) + those looked at).
--include clock
local prefix, but, most, look = unpack(ARGV, 1, 4)
most, look = tonumber(most), tonumber(look)
local found, now, step = {}, now_ms(), 100
for i = 5, #ARGV, 2 do
  local start = 0
  repeat
    local members = redis.call('ZRANGEBYLEX', prefix .. 'advisory_claims_on', ARGV[i], ARGV[i + 1], 'LIMIT', start, step)
    for _, member in ipairs(members) do
      local record = prefix .. 'advisory_claim:' .. string.match(member, '%z(.*)$')
      local principal, ends = unpack(redis.call('HMGET', record, 'principal', 'ends'))
      if principal and principal ~= but and tonumber(ends) > now then found[#found + 1] = member end
      if #found >= most then return found end
    end
    start, look = start + #members, look - #members
    if look <= 0 then return found end
  until #members < step
end
return found
