"""Load whose result is checked: real and generated histories replayed by many writers, and compared with Git.

Begin with run.py. Imports app.client and app.judge.
"""
