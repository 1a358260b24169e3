"""The names of a stack's processes."""

SERVERS = ("redis", "s3")
NAMES = (*SERVERS, "api", "worker", "merger", "beat", "flower")
