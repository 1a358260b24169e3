"""The fault harness: writers under load, something broken on purpose, and a checker that knows no implementation.

In the order in which to read it: `history` is what is written down; `writers` send, each through a `session` that
repeats what may pass, over a `wire`. `rig` is the stack that can be broken, whose nodes run `stoppable`, the product
with `failpoints`; `nemeses` break and heal things. `heartbeat` measures recoveries. `evidence` is what the API and
an export say at the end, and `checker` compares that with the history. `rights` is who may do what meanwhile, who tries
what it may not, and the checker's rules about that; `pushers` are those who use plain Git, and the rules about these.
`rounds` puts all of it together, `report` counts, and `run` is the command line: `python -m tests.harness --help`.
`small` is a rig in one process, for the checker's own test, tests/faults/test_checker.py.
"""
