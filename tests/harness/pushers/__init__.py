"""Pushers: people with plain Git at the gateway, beside the writers at the API.

`clone` runs Git and reads what a push is told; `pusher` is one who clones, commits, pushes, pulls and resolves;
`gathered` has what Git gets from the gateway at the end, and `judge` the checker's rules about it.
"""
