"""Commands for those who submit changes; they talk to the API alone."""
