"""The whole of Sluice on one machine without Docker: servers, processes, and the two together as a `Stack`.

Begin with stack.py, which is imported only by who runs one: most commands do not.
"""
