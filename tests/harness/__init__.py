"""The fault harness: writers under load, something broken on purpose, and a checker that knows no implementation.

`writers` submit over HTTP and write down in a `history` what they sent and what they were told; `nemeses` break and
heal things; `evidence` is what the API and an export say at the end; `checker` compares the two. `rig` is the stack
that can be broken, `rounds` puts all of it together, and `python -m tests.harness --help` runs it.
"""
