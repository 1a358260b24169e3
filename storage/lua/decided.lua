-- Included by scripts that ask whether changesets are decided. One has an outcome in the view; or it has been archived:
-- then it is not behind the mark, and not among those that the mark has passed undecided.
local function decisions(view)
  local mark = redis.call('HGET', view .. 'head', 'mark') or ''
  return function(id)
    return redis.call('EXISTS', view .. 'outcome:' .. id) == 1
      or (id <= mark and redis.call('HEXISTS', view .. 'undecided', id) == 0)
  end
end
