"""Commands that show the past, and name places in it."""
