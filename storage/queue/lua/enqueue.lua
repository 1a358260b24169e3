#!lua
-- Queue what was found durable and in no queue (lua/queueing.lua): there may be much of it, so not while Redis is full.
--include open_view
--include clock
--include decided
--include successors
--include queueing
