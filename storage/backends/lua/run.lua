-- Included by scripts that ask which run of Redis this is, and whether it was marked as recovered (Queue.mark_recovered).
-- After a failover a server has another history under the same run id. The replication id is new with each promotion, so
-- it is part of the run. A replica is never marked as recovered: it may be behind, or its last writes may be undone.
local function this_run()
  local info = redis.call('INFO', 'server', 'replication')
  local run = string.match(info, 'run_id:(%w+)') .. '-' .. string.match(info, 'master_replid:(%w+)')
  return string.find(info, 'role:master', 1, true) and run or run .. '-replica'
end
local function is_recovered(prefix, epoch)
  return redis.call('GET', prefix .. 'recovered') == this_run() .. ':' .. epoch
end
