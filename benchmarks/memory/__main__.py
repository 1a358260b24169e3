"""Runs the benchmark of memory from the command line."""

from benchmarks.memory.run import main

main()
