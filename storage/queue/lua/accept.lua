#!lua flags=allow-oom
-- Queue changesets that were just accepted (lua/queueing.lua), even if Redis has become full meanwhile: their number is
-- bounded by the running submissions, and otherwise their state could not be reported.
--include open_view
--include clock
--include decided
--include successors
--include parts
--include queueing
