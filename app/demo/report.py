"""The result of a replay."""

from dataclasses import dataclass, field

from app.client.api_client import Json


@dataclass(slots=True)
class Report:
    """Counts of a replay; filled while it runs."""

    changesets: int = 0  # submitted, without those of the import
    landed: int = 0
    merged: int = 0  # batch merges that were made meanwhile
    conflicted: int = 0
    rejected: int = 0
    seconds: float = 0.0  # from the first submission until all was merged, without the import
    tree: str = ""  # of the global head
    expected: str = ""  # of the repository's last commit
    imported: int = 0  # files
    problems: list[Json] = field(default_factory=list)  # the first changesets of each slice that did not land

    @property
    def match(self) -> bool:
        """Whether the tree that Sluice built is the repository's own."""
        return self.tree == self.expected

    @property
    def ok(self) -> bool:
        """Whether all landed and the trees are the same."""
        return self.match and self.landed == self.changesets

    @property
    def per_second(self) -> float:
        """Changesets landed in a second."""
        return self.landed / self.seconds if self.seconds else 0.0

    def to_json(self) -> Json:
        """Return the line that `--json` prints."""
        counts = ("changesets", "landed", "merged", "conflicted", "rejected", "imported")
        return {
            **{name: getattr(self, name) for name in counts},
            "seconds": round(self.seconds, 3),
            "per_s": round(self.per_second, 1),
            "tree": self.tree,
            "expected": self.expected,
            "match": self.match,
        }


def sentences(problem: Json, most: int = 5) -> list[str]:
    """Return what a person should read about a changeset that did not land; at most `most` of its conflicts."""
    why = f": {problem['reason']}, {problem.get('detail', '')}" if "reason" in problem else ""
    lines = [f"{problem['id']} {problem['status']}{why}"]
    for conflict in problem.get("conflicts", [])[:most]:
        versions = ", ".join(f"{side} {_version(conflict.get(side))}" for side in ("base", "head", "submitted"))
        lines.append(f"  {conflict['path']} ({conflict['class']}): {versions}")
    return lines


def _version(version: Json | None) -> str:
    return f"{version['mode']} {version['id'][:12]}" if version else "none"
