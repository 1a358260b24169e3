"""`python -m benchmarks`, which is `make bench`."""

from benchmarks.run import main

# The load generator is a process of its own, which imports this module again.
if __name__ == "__main__":
    main()
