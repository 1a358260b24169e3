"""What is pushed to a mirror, from what its server has and what landed. Pure.

Nothing at the server is overwritten or deleted: the branch goes forward or stays, and a tag is made or left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

TAGS = "refs/tags/"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one push does."""

    refs: tuple[tuple[str, str], ...] = ()  # ids and the names that they get there; the branch first
    diverged: bool = False  # the branch is not behind what landed: nothing is pushed, tags neither
    other_tags: tuple[str, ...] = ()  # tags that are others there, and stay


def plan(
    ref: str,
    landed: str,
    tags: Mapping[str, str],
    there: Mapping[str, str],
    is_ancestor: Callable[[str, str], bool],
    step: Callable[[str, str], str],
) -> Plan:
    """Return what is to be pushed.

    `landed` is the commit that the branch `ref` is to have, `tags` are the tags by their names without refs/tags/,
    and `there` are the server's refs. `step` returns the commit on the way from one (empty: from nothing) to `landed`
    that one push takes the branch to; tags wait until the branch has arrived.
    """
    old = there.get(ref, "")
    if old and old != landed and not is_ancestor(old, landed):
        return Plan(diverged=True)
    other = tuple(sorted(name for name, oid in tags.items() if there.get(TAGS + name, oid) != oid))
    if old != landed:
        new = step(old, landed)
        if new != landed:
            return Plan(((new, ref),), other_tags=other)
    branch = ((landed, ref),) if old != landed else ()
    new_tags = tuple((oid, TAGS + name) for name, oid in sorted(tags.items()) if TAGS + name not in there)
    return Plan(branch + new_tags, other_tags=other)
