"""Drills: something planned is done to a stack of default settings under load, and no client may notice but by a 503.

Where a round of faults (`tests/harness/rounds.py`) asks what is true at the end, a drill judges every single answer on
the way: `tally` counts them, `clients` has those who wait longest, `drill` puts them around a stack; `outage`,
`restart`, `full_redis`, `failover` and `killed` are the drills. `python -m tests.harness.drills --help` runs them.
"""
