"""Git as the judge: what Git itself makes of a merge or a history, to compare with.

Begin with judge.py. Imports storage's formats alone.
"""
