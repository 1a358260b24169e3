"""What Sluice claims, measured, and its peers measured beside it in the same run; see docs/benchmarks.md."""
