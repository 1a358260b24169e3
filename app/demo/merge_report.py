"""The result of a replay of merges."""

from collections import Counter
from dataclasses import dataclass, field

from app.client.api_client import Json
from app.judge import Files

CLEAN, CONFLICTED = "clean", "conflicted"


@dataclass(frozen=True, slots=True)
class Difference:
    """A merge whose results in Git and in Sluice differ."""

    merge: str  # the commit
    git: str  # what Git says: clean or conflicted
    sluice: str  # likewise, or why there is no verdict
    paths: tuple[str, ...]  # those that conflict in one of the two, or that differ

    def sentence(self, most: int = 10) -> str:
        """Return what a person should read, with at most so many paths."""
        verdicts = f"git: {self.git}, sluice: {self.sluice}"
        more = f" and {len(self.paths) - most} more" if len(self.paths) > most else ""
        return f"{self.merge} {verdicts}: {', '.join(map(ascii, self.paths[:most]))}{more}"


@dataclass(slots=True)
class MergeReport:
    """Counts of a replay of merges."""

    merges: int = 0  # that were compared
    same_verdict: int = 0
    same_tree: int = 0  # of those with the same verdict: conflicted, or the same files
    clean: int = 0  # to Git
    conflicted: int = 0  # likewise
    content_merges: int = 0  # in which both sides changed the content of one file
    seconds: float = 0.0  # of Sluice's part: the import, both sides, and reading what came of them
    skipped: Counter[str] = field(default_factory=Counter)  # merges, by reason
    differences: list[Difference] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all are the same."""
        return self.same_verdict == self.same_tree == self.merges

    def to_json(self) -> Json:
        """Return the line that `--json` prints."""
        counts = ("merges", "same_verdict", "same_tree", "clean", "conflicted", "content_merges")
        return {
            **{name: getattr(self, name) for name in counts},
            "skipped": dict(sorted(self.skipped.items())),
            "seconds": round(self.seconds, 3),
        }

    def compare(
        self, merge: str, git: str, sluice: str, expected: Files, actual: Files, conflicts: tuple[str, ...]
    ) -> None:
        """Count one merge: the verdicts of both, the files where it is clean, and the paths that conflict in one."""
        self.merges += 1
        self.clean += git == CLEAN
        self.conflicted += git == CONFLICTED
        if git != sluice:
            self.differences.append(Difference(merge, git, sluice, conflicts))
            return
        self.same_verdict += 1
        if git == CLEAN and expected != actual:
            paths = {path for path, _ in expected.items() ^ actual.items()}
            self.differences.append(Difference(merge, git, sluice, tuple(sorted(paths))))
            return
        self.same_tree += 1
