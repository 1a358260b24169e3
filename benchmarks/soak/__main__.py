"""`python -m benchmarks.soak`, which is `make soak`."""

from benchmarks.soak.run import main

# The load generator is a process of its own, which imports this module again.
if __name__ == "__main__":
    main()
