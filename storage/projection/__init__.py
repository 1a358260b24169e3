"""A slice's own history, as pure functions of the log and its objects.

follow.py reads entries in order and says what each means for a slice; slice_trees.py reduces trees to a slice's paths,
and finds the objects that are new in one; commits.py writes the commits.
"""
