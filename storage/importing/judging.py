"""Whether a history can be carried: what `git fsck` says of it, and how large its objects are.

What is only odd, as in histories that old programs wrote, is recorded with the import: `sluice verify` judges what
`git fsck` says of an export by that. Everything else is refused by name, before anything is written.
"""

from collections.abc import Iterable

from storage.base.progress import Progress
from storage.git.imported.git_output import ODD, complaints
from storage.importing.packing import LARGEST, History, Packed
from storage.importing.source import Unfit
from storage.log.kinds.git import Odd

_MOST_PROBLEMS = 100
_EXAMPLES = 5


def judge(history: History, packed: Packed, progress: Progress) -> tuple[Odd, ...]:
    """Return what is odd of a history. Raises Unfit, and GitFailed."""
    problems = [f"object {oid} has more than {LARGEST >> 20} MiB" for oid in packed.large]
    counts: dict[str, int] = {}
    examples: dict[str, list[str]] = {}
    padded: list[str] = []
    more = 0
    for one in complaints(history.git, progress):
        if one.name in ODD:
            counts[one.name] = counts.get(one.name, 0) + 1
            shown = examples.setdefault(one.name, [])
            if len(shown) < _EXAMPLES:
                shown.append(one.oid)
            if one.name == "zeroPaddedFilemode":
                padded.append(one.oid)
        elif len(problems) < _MOST_PROBLEMS:
            problems.append(one.text)
        else:
            more += 1
    problems += [f"tree {oid} has a file whose mode has a zero before it" for oid in _padded_files(history, padded)]
    if problems:
        raise Unfit(problems, more)
    return tuple(Odd(name=name, count=counts[name], examples=tuple(examples[name])) for name in sorted(counts))


def _padded_files(history: History, trees: Iterable[str]) -> list[str]:
    """Return those trees in which the modes of files, and not only of directories, are written with a zero before."""
    found = []
    for oid in trees:
        data = history.git.output("cat-file", "tree", oid)
        at = 0
        while at < len(data):
            if data.startswith(b"01", at):
                found.append(oid)
                break
            at = data.index(b"\0", at) + 21
    return found[:_MOST_PROBLEMS]
