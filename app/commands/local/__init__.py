"""Commands that run a whole stack on this machine, or load one."""
