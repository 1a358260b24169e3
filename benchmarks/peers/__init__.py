"""What people use today, on the same workload: each proves its final tree before its figure counts."""
