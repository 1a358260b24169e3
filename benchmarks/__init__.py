"""What Sluice claims, measured, with the peers beside it in the same run. See docs/benchmarks.md."""
