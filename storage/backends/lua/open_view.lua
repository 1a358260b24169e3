-- Included first by scripts that need the published view. Ends the script with the error ABSENT where there is none; else
-- defines `prefix` of all keys of the repository, the published `epoch`, and `view`, the prefix of that epoch's keys.
local prefix, epoch = ARGV[1], redis.call('GET', KEYS[1])
if not epoch then return redis.error_reply('ABSENT the view is not loaded') end
local view = prefix .. 'v:' .. epoch .. ':'
