-- Included by scripts that ask which run of Redis this is, and whether somebody vouches for a view in it (Queue.vouch).
local function this_run()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end
local function is_vouched_for(prefix, epoch)
  return redis.call('GET', prefix .. 'recovered') == this_run() .. ':' .. epoch
end
