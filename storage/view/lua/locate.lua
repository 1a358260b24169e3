#!lua flags=no-writes
-- Where objects are stored. KEYS[1] the epoch pointer. ARGV: prefix, object ids (20 bytes each, in one string).
-- Returns a location for each id, false where it is unknown. Errors: ABSENT. Cost: O(ids).
--include open_view
local at, oids, locations = view .. 'at:', ARGV[2], {}
for i = 1, #oids, 20 do
  locations[#locations + 1] = redis.call('HGET', at .. string.format('%02x%02x', string.byte(oids, i, i + 1)),
    string.sub(oids, i + 2, i + 19))
end
return locations
