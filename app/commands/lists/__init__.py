"""Commands that list changesets; they talk to the API alone."""
