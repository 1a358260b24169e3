"""A process that makes the store of a slice of an imported repository on an empty disk, as a gateway that begins does.

`python -m benchmarks.imported_slices SLICE FOLDER`: the settings come from the environment. It prints a line of JSON:
the newest commit of the store, how many it has, and its bytes.
"""

import dataclasses
import json
import sys
from pathlib import Path

from storage.base.settings import load
from storage.clones.clones import Clones
from storage.git.run_git import Git, isolated_environment
from storage.repository import Repository


def main(name: str, folder: str) -> None:
    """Make it, without a checkpoint."""
    repo = Repository(dataclasses.replace(load(), clone_wait=3600.0, clone_checkpoint_commits=0))
    of = repo.view.slice(name)
    assert of is not None
    clone = Clones(repo, Path(folder)).of_slice(of)
    clone.catch_up(repo.view.head().applied)
    git = Git(environment=isolated_environment(clone.path))
    size = sum(file.stat().st_size for file in (clone.path / "objects" / "pack").iterdir())
    commits = int(git.output("rev-list", "--count", "main"))
    print(json.dumps({"main": git.output("rev-parse", "main").decode().strip(), "commits": commits, "bytes": size}))


if __name__ == "__main__":
    main(*sys.argv[1:])
