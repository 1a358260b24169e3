"""Calls that wait while Git merges share its next run, and each gets the results of its own texts."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from storage.git import merge_tree
from storage.git.merge_tree import GitMerger, Merged, MergerFailed, MergeTooSlow, Texts
from tests.support.waiting import await_true

CALLS = 8


def texts(number: int, count: int = 1) -> list[Texts]:
    return [Texts(b"0\n1\n2\n", b"%d\n1\n2\n" % number, b"0\n1\n%d\n" % n) for n in range(count)]


def merged(number: int, count: int = 1) -> list[Merged]:
    return [Merged(True, b"%d\n1\n%d\n" % (number, n)) for n in range(count)]


class Runs:
    """Runs of Git, of which the first begins when everybody else waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.git = GitMerger()
        self.sizes: list[int] = []
        self.fail: Callable[[Sequence[Texts]], None] = lambda _: None
        self._first, self._go_on = threading.Event(), threading.Event()
        real = merge_tree._Folder.merge

        def merge(folder: merge_tree._Folder, wanted: Sequence[Texts], timeout: float) -> list[Merged]:
            self.sizes.append(len(wanted))
            self._first.set()
            assert self._go_on.wait(60)
            self.fail(wanted)
            return real(folder, wanted, timeout)

        monkeypatch.setattr(merge_tree._Folder, "merge", merge)

    def call(self, wanted: Sequence[Sequence[Texts]]) -> list[Future[list[Merged]]]:
        """Make one call, and the others while Git runs for that one; return what comes of each."""
        with ThreadPoolExecutor(len(wanted)) as pool:
            made = [pool.submit(self.git.merge, wanted[0])]
            assert self._first.wait(60)
            for number, each in enumerate(wanted[1:], 1):
                made.append(pool.submit(self.git.merge, each))
                await_true(lambda number=number: len(self.git._waiting) == number)  # type: ignore[misc]
            self._go_on.set()
        return made


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(monkeypatch)


def test_calls_that_wait_share_one_run_and_get_their_own_results(runs: Runs):
    made = runs.call([texts(number, number + 1) for number in range(CALLS)])
    assert [future.result() for future in made] == [merged(number, number + 1) for number in range(CALLS)]
    assert runs.sizes == [1, sum(range(2, CALLS + 1))]


def test_a_run_has_no_more_texts_and_bytes_than_its_limits(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(merge_tree, "_TOGETHER", 3)
    made = runs.call([texts(number) for number in range(CALLS)])
    assert [future.result() for future in made] == [merged(number) for number in range(CALLS)]
    assert runs.sizes[0] == 1 and max(runs.sizes) == 3 and sum(runs.sizes) == CALLS

    monkeypatch.setattr(merge_tree, "_BYTES_TOGETHER", 2 * texts(1)[0].size)
    limited = Runs(monkeypatch)
    made = limited.call([texts(number) for number in range(CALLS)])
    assert [future.result() for future in made] == [merged(number) for number in range(CALLS)]
    assert max(limited.sizes) == 2


@pytest.mark.parametrize(
    ("reason", "error"), [(subprocess.TimeoutExpired("git", 1), MergeTooSlow), (ValueError("bad"), MergerFailed)]
)
def test_texts_that_git_cannot_merge_fail_their_own_call_alone(runs: Runs, reason: Exception, error: type[Exception]):
    bad = texts(5)[0]

    def fail(wanted: Sequence[Texts]) -> None:
        if bad in wanted:
            raise reason

    runs.fail = fail
    made = runs.call([texts(number) for number in range(CALLS)])
    assert [type(future.exception()) for future in made if future.exception()] == [error]
    assert [future.result() for number, future in enumerate(made) if number != 5] == [
        merged(number) for number in range(CALLS) if number != 5
    ]
    # One run for the first, one for the others, and one for each of these.
    assert runs.sizes == [1, CALLS - 1] + [1] * (CALLS - 1)
    assert not runs.git._waiting
