#!lua
-- Queue durable changesets that a scan found in no queue (lua/queueing.lua): there may be many, so not while Redis is full.
--include open_view
--include clock
--include decided
--include successors
--include parts
--include queueing
