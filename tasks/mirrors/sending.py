"""What one run sends to a mirror's server: the branch, and tags, so that none of these holds the branch up.

A server may refuse a tag, by a rule of its own, and with it all that comes in the same push. So tags go along with the
branch only as long as none was refused; then they go behind it, and what becomes of them is no failure of the mirror.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from storage.mirrors.plan import TAGS, Plan
from storage.mirrors.remote import Pushed, Remote, RemoteFailed, failure
from storage.queue import MirrorProgress

Refs = Sequence[tuple[str, str]]
"""Ids, and the names under which they are pushed."""

_MOST_NAMES = 100  # of refused tags that are known one by one


class Sending:
    """The pushes of one run."""

    def __init__(self, remote: Remote, ref: str, known: MirrorProgress, again: bool) -> None:
        """`ref` is the branch, `known` what earlier runs know; `again`: tags that were refused are tried again."""
        self._remote = remote
        self._ref = ref
        self._known = known
        self._again = again
        self.count = 0  # pushes
        self.has_taken = False  # the server, something
        self._taken: set[str] = set()  # tags that are there now
        self._said = ""  # of the first tag that was refused
        self._has_tried = False

    def send(self, wanted: Plan, old: str) -> str:
        """Send what is wanted, and return what the branch is then, which was `old`. Raises RemoteFailed for it."""
        branch = [each for each in wanted.refs if each[1] == self._ref]
        tags = [each for each in wanted.refs if each[1] != self._ref]
        if branch and tags and not (self._known.failed or self._known.refused_tags):
            results = self._push(wanted.refs)
            if results[self._ref].done or results[self._ref].moved:
                self._note(tags, results)
                return self._arrived(branch, results)
            # What declines a tag may decline all that comes with it: the branch is tried alone.
        at = self._arrived(branch, self._push(branch)) if branch else old
        for group in self._groups(tags):
            try:
                self._note(group, self._push(group))
            except RemoteFailed as error:
                self._note(group, {name: Pushed(False, detail=str(error)) for _, name in group})
        return at

    def seen(self, wanted: Plan, now: float) -> dict[str, Any]:
        """Return the fields of MirrorProgress about tags, once the branch has all that landed."""
        names = [name.removeprefix(TAGS) for _, name in wanted.refs if name != self._ref]
        left = [name for name in names if name not in self._taken]
        return {
            "refused_tags": len(left),
            "refused_names": tuple(left[:_MOST_NAMES]),
            "refused_detail": (self._said or self._known.refused_detail) if left else "",
            "tags_tried": now if self._has_tried else self._known.tags_tried,
        }

    def _groups(self, tags: Refs) -> list[Refs]:
        """Return the tags that are pushed now: new ones together, and some of those that were refused.

        Up to half of these, by chance: where one is the reason why a server declines all, the others get there soon.
        """
        names = {TAGS + name for name in self._known.refused_names}
        fresh = [each for each in tags if each[1] not in names]
        before = [each for each in tags if each[1] in names]
        if not self._again:
            # Of more than are known by name, who knows which are new.
            return [fresh] if fresh and self._known.refused_tags == len(names) else []
        some = sorted(random.sample(before, random.randint(1, (len(before) + 1) // 2))) if before else []
        return [group for group in (fresh, some) if group]

    def _push(self, refs: Refs) -> Mapping[str, Pushed]:
        """Push, and return what became of each. Raises RemoteFailed."""
        self.count += 1
        results = self._remote.push(refs)
        missing = {name: Pushed(False, detail="nothing was said of it") for _, name in refs if name not in results}
        self.has_taken = self.has_taken or any(each.done for each in results.values())
        return {**results, **missing}

    def _arrived(self, branch: Refs, results: Mapping[str, Pushed]) -> str:
        """Return what the branch is after its push. Raises RemoteFailed where it was not taken."""
        [(oid, name)] = branch
        result = results[name]
        if failed := failure({name: result}, name):
            raise failed
        if not result.done:
            # Somebody else has pushed since it was asked: the next run sees what.
            raise RemoteFailed("moved", result.detail)
        return oid

    def _note(self, tags: Refs, results: Mapping[str, Pushed]) -> None:
        """Note what became of tags; one that was made there meanwhile is there, whatever it is."""
        self._has_tried = True
        for _, name in tags:
            result = results[name]
            if result.done or result.moved:
                self._taken.add(name.removeprefix(TAGS))
            elif not self._said:
                self._said = f"{name.removeprefix(TAGS)}: {result.detail}"
