"""Git's formats and rules: objects, packs, trees, paths, messages, and how one path is merged.

Begin with objects.py and threeway.py. Most modules are pure: values in, values out; run_git.py, merge_tree.py and
conflict_hunks.py run Git or libgit2. Imports storage.base and storage.backends.
"""
