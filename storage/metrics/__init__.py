"""What this process counts: definitions of counters and histograms, and their counts since they were last taken.

Counting is a dictionary's update under a lock, and no I/O. storage/coordination/counted.py adds the counts of all
processes up in Redis, and app/service/metrics.py shows the sums to Prometheus.
"""
