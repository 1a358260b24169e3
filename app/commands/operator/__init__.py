"""Commands for those who run a deployment; most work on its bucket and its Redis."""
