"""Many pushers at once, some of them in conflict: each push is counted, and each commit lands once.

`make bench ARGS="--only pushes"` has 200 of them, on a stack, beside `git http-backend`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.support.pushing import Clone, Pushed, Pushing

CROWD = 24
_IN_CONFLICT = 5  # every fifth


def at_once(clones: Sequence[Clone], push: Callable[[Clone], Pushed] = Clone.push) -> list[Pushed]:
    """Have all push at the same moment."""
    start = threading.Barrier(len(clones))

    def work(clone: Clone) -> Pushed:
        start.wait()
        return push(clone)

    with ThreadPoolExecutor(len(clones)) as pool:
        return list(pool.map(work, clones))


def subjects(pushed: Pushing) -> Counter[str]:
    """Return the subjects of all that has landed in the slice, as a fresh clone has them."""
    return Counter(pushed.clone("docs").git("log", "--format=%s").splitlines())


def test_a_crowd_lands_with_one_push_each(pushed: Pushing) -> None:
    clones = [pushed.clone("docs") for _ in range(CROWD)]
    for number, clone in enumerate(clones):
        clone.commit({f"docs/by-{number}": b"%d\n" % number}, f"Commit {number}")
    done = at_once(clones)
    assert all(each.ok for each in done), [each.said for each in done if not each.ok]
    assert len({changeset for each in done for changeset in each.changesets}) == CROWD
    landed = subjects(pushed)
    assert [landed[f"Commit {number}"] for number in range(CROWD)] == [1] * CROWD


def test_of_a_crowd_those_in_conflict_land_after_one_pull_and_all_others_at_once(pushed: Pushing) -> None:
    fifth = range(0, CROWD, _IN_CONFLICT)
    first = pushed.clone("docs")
    first.commit({f"docs/by-{number}": b"old\n" for number in fifth}, "Old")
    assert first.push().ok
    clones = [pushed.clone("docs") for _ in range(CROWD)]
    for number, clone in enumerate(clones):
        clone.commit({f"docs/by-{number}": b"mine %d\n" % number}, f"Commit {number}")
    first.commit({f"docs/by-{number}": b"moved\n" for number in fifth}, "Moved")
    assert first.push().ok

    done = at_once(clones, lambda clone: clone.push("-o", "topic=crowd"))
    refused = [number for number, each in enumerate(done) if not each.ok]
    assert refused == list(fifth), [each.said for each in done]
    for number in refused:
        assert f"conflict in docs/by-{number} (content); run: git pull --rebase, then push again" in done[number].said
    landed = subjects(pushed)
    assert [landed[f"Commit {number}"] for number in range(CROWD)] == [number not in fifth for number in range(CROWD)]

    for number in refused:
        clone = clones[number]
        assert clone.run("pull", "-q", "--rebase").returncode != 0
        clone.write({f"docs/by-{number}": b"mine %d\n" % number})
        clone.git("add", ".")
        clone.git("rebase", "--continue", GIT_EDITOR="true")
    again = at_once([clones[number] for number in refused], lambda clone: clone.push("-o", "topic=crowd"))
    assert all(each.ok for each in again), [each.said for each in again]
    landed = subjects(pushed)
    assert [landed[f"Commit {number}"] for number in range(CROWD)] == [1] * CROWD
    files = pushed.world.files()
    assert all(files[f"docs/by-{number}"] == b"mine %d\n" % number for number in range(CROWD))
    # Each conflict was closed by what took its place: none is left to anybody.
    _, states = pushed.world.repo.queue.states([done[number].changesets[0] for number in refused])
    assert [state.closed_by for state in states] == [each.changesets[0] for each in again]
