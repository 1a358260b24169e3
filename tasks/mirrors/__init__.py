"""Pushing what landed to mirrors. Begin with tasks.py; push.py has a run for one mirror, due.py says which need one."""
