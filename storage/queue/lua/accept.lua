#!lua flags=allow-oom
-- Queue what has just been accepted (lua/queueing.lua), also where Redis has become full meanwhile: it is bounded by the
-- submissions that were under way, and its state could not be answered otherwise.
--include open_view
--include clock
--include decided
--include successors
--include queueing
