-- Included by scripts that ask which run of Redis this is, and whether it was marked as recovered (Queue.mark_recovered).
-- A failover gives a server another history under the same run id: the replication id tells, which is new with each
-- promotion. A replica is never marked: what it has may be behind, or be taken back.
local function this_run()
  local info = redis.call('INFO', 'server', 'replication')
  local run = string.match(info, 'run_id:(%w+)') .. '-' .. string.match(info, 'master_replid:(%w+)')
  return string.find(info, 'role:master', 1, true) and run or run .. '-replica'
end
local function is_recovered(prefix, epoch)
  return redis.call('GET', prefix .. 'recovered') == this_run() .. ':' .. epoch
end
