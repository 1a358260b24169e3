"""The commands of `sluice`, one module each; a module's `command` is what the command line loads."""
