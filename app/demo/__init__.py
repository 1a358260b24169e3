"""Load with a verdict: real and made-up histories replayed by many writers, and what Sluice made of them.

Begin with run.py. Imports app.client and app.judge.
"""
