"""Pushes: a gateway beside `git http-backend`, on the same repository and in turns; begin with run.py."""
