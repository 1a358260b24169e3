"""The load generator: a process of its own, one thread, any number of connections. No code of the server is in it."""
