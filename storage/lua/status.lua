#!lua
-- Where changesets stand. KEYS[1] the epoch pointer. ARGV: prefix, changeset ids.
-- Returns {1 if recovery has vouched for the queues else 0, through, for each id: {outcome or false, slice or false,
-- position or false}}. Errors: ABSENT. Cost: O(ids * log(queue)).
local prefix = ARGV[1]
local epoch = redis.call('GET', KEYS[1])
if not epoch then return redis.error_reply('ABSENT the view is not loaded') end
local view = prefix .. 'v:' .. epoch .. ':'
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local answer = {redis.call('GET', prefix .. 'recovered') == run .. ':' .. epoch and 1 or 0, redis.call('HGET', view .. 'head', 'through')}
for i = 2, #ARGV do
  local outcome = redis.call('GET', view .. 'outcome:' .. ARGV[i])
  local slice, position = false, false
  if not outcome then
    slice = redis.call('HGET', prefix .. 'work:' .. ARGV[i], 'slice')
    if slice then position = redis.call('ZRANK', prefix .. 'queue:' .. slice, ARGV[i]) end
  end
  answer[#answer + 1] = {outcome, slice, position}
end
return answer
