"""A replay sends what the plan says, in order, and believes ids alone; against an API made of a few dictionaries.

That a real Sluice builds the real tree is shown by tests/acceptance; here it is the requests that count.
"""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.client.api_client import Json
from app.demo import bodies
from app.demo.bodies import changeset_items
from app.demo.plan import PlannedChangeset
from app.demo.report import Report, sentences
from app.demo.run import Lane, Replay
from app.demo.writers import Writers
from app.judge.local_history import FileChange, History, HistoryError, SourceCommit
from storage.git.objects import EMPTY_TREE

# A history in which everything happens that a tree can go through, as `git fast-import` reads it.
STREAM = """
commit refs/heads/main
committer Ada <ada@example.org> 1700000000 +0000
data <<.
Begin
.
M 100644 inline README
data 6
first

M 100644 inline src/a.py
data 2
a

M 100755 inline src/run
data 3
run
M 120000 inline docs/link
data 6
README

commit refs/heads/main
committer Ada <ada@example.org> 1700000001 +0000
data <<.
Everywhere
.
M 100644 inline src/a.py
data 3
a2

M 100644 inline README
data 7
second

D docs/link
M 100644 inline docs/link/in
data 3
in

commit refs/heads/main
committer Ada <ada@example.org> 1700000002 +0000
data <<.
Nothing
.

commit refs/heads/main
committer Ada <ada@example.org> 1700000003 +0000
data <<.
Modes and pointers
.
M 100644 inline src/run
data 3
run
M 160000 1111111111111111111111111111111111111111 src/lib

commit refs/heads/main
committer Ada <ada@example.org> 1700000004 +0000
data <<.
Away
.
D src/a.py
"""


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path)], check=True)
    subprocess.run(["git", "fast-import", "--quiet"], cwd=tmp_path, input=STREAM.lstrip().encode(), check=True)
    with History(tmp_path) as history:
        yield history


class Api:
    """Answers like a Client whose server lands everything, and remembers the requests."""

    def __init__(self, tree: str) -> None:
        self.tree = EMPTY_TREE.hex()
        self.final_tree = tree
        self.slices: dict[str, list[str]] = {}
        self.requests: list[tuple[str, list[Json]]] = []
        self.changesets_by_id: dict[str, Json] = {}
        self.unlisted: set[str] = set()
        self.outcomes: dict[str, Json] = {}  # by message: what becomes of it instead of landing
        self._lock = threading.Lock()

    def create_slice(self, name: str, paths: list[str]) -> Json:
        self.slices[name] = paths
        return {"id": f"id-of-{name}", "name": name, "paths": paths}

    def head(self) -> Json:
        commit = f"tip-{len(self.changesets_by_id)}"
        return {"tip": {"tree": self.tree, "commit": commit}, "main": {"tree": self.tree}, "pending": 0}

    def submit_many(self, body: bytes, key: str) -> list[Json]:
        with self._lock:
            items = json.loads(body)["changesets"]
            self.requests.append((key, items))
            made = []
            for item in items:
                each = {"id": f"{len(self.changesets_by_id):026}", "slice": item["slice"], "status": "landed"}
                self.changesets_by_id[each["id"]] = each | self.outcomes.get(item["message"].strip(), {})
                made.append({"status": 202, "changeset": each})
            self.tree = self.final_tree
            return made

    def changeset(self, changeset: str, wait: float = 0.0, until: str = "") -> Json:
        return self.changesets_by_id[changeset]

    def changesets(self, slice_id: str, status: str, limit: int = 1000) -> Iterator[Json]:
        for each in self.changesets_by_id.values():
            if (each["slice"], each["status"]) == (slice_id, status) and each["id"] not in self.unlisted:
                yield each

    def global_commits(self, limit: int) -> Iterator[Json]:
        yield from ()

    def sent(self, slice_id: str) -> list[Json]:
        """The items of a slice, without its import."""
        items = [item for key, items in self.requests if key.startswith("replay-") for item in items]
        return [item for item in items if item["slice"] == slice_id]


@pytest.fixture
def api(history: History) -> Api:
    return Api(history.tree)


def replay(history: History, api: Any, **options: Any) -> Report:
    return Replay(history, api, **options).run()


@pytest.mark.parametrize("writers", [1, 4, 16])
@pytest.mark.parametrize("bulk", [1, 50])
def test_every_change_of_every_commit_is_sent_once_in_its_slices_order(
    history: History, api: Api, writers: int, bulk: int
) -> None:
    report = replay(history, api, writers=writers, bulk=bulk)
    assert api.slices == {"docs": ["docs/"], "src": ["src/"], "top-level-files": ["README"]}
    src = api.sent("id-of-src")
    assert [item["message"] for item in src] == ["Everywhere\n", "Modes and pointers\n", "Away\n"]
    assert [item["changes"] for item in src] == [
        [{"op": "put", "path": "src/a.py", "mode": "100644", "content": "a2\n"}],
        [
            {"op": "put", "path": "src/lib", "mode": "160000", "id": "1" * 40},
            {"op": "mode", "path": "src/run", "mode": "100644"},
        ],
        [{"op": "delete", "path": "src/a.py"}],
    ]
    [docs] = api.sent("id-of-docs")
    assert {(change["op"], change["path"]) for change in docs["changes"]} == {
        ("delete", "docs/link"),
        ("put", "docs/link/in"),
    }
    assert (report.changesets, report.landed, report.imported, report.ok) == (5, 5, 4, True)


def test_the_first_commit_is_imported_before_anything_is_based_on_it(history: History, api: Api) -> None:
    replay(history, api)
    key, items = api.requests[0]
    assert key.startswith("import-")
    assert {item["base"] for item in items} == {"tip-0"}, "the tip that was there at the start"
    imported = [(change["path"], change["mode"], change["content"]) for item in items for change in item["changes"]]
    assert sorted(imported) == [
        ("README", "100644", "first\n"),
        ("docs/link", "120000", "README"),
        ("src/a.py", "100644", "a\n"),
        ("src/run", "100755", "run"),
    ]
    assert api.sent("id-of-src")[0]["base"] == f"tip-{len(items)}", "the tip after the import"


def test_the_base_is_the_item_before_or_its_id_across_requests(history: History, api: Api) -> None:
    replay(history, api, bulk=2)
    assert [item["base"] for item in api.sent("id-of-src")][1] == 0
    last = api.sent("id-of-src")[2]["base"]
    assert api.changesets_by_id[last]["slice"] == "id-of-src"


def test_each_request_has_a_key_of_its_own_that_a_repeat_would_have_too(history: History, api: Api) -> None:
    replay(history, api, bulk=1)
    keys = [key for key, _ in api.requests]
    assert len(set(keys)) == len(keys)
    again = Api(history.tree)
    replay(history, again, bulk=1)
    assert sorted(keys) == sorted(key for key, _ in again.requests)


@pytest.mark.parametrize(("limit", "imported", "messages"), [
    (1, 4, ["Away\n"]),
    (2, 4, ["Modes and pointers\n", "Away\n"]),
    (99, 4, ["Everywhere\n", "Modes and pointers\n", "Away\n"]),
])  # fmt: skip
def test_a_limit_replays_the_end_and_imports_what_was_before(
    history: History, api: Api, limit: int, imported: int, messages: list[str]
) -> None:
    report = replay(history, api, limit=limit)
    assert [item["message"] for item in api.sent("id-of-src")] == messages
    assert report.imported >= imported


def test_a_repository_that_is_not_empty_is_refused_before_anything_is_sent(history: History, api: Api) -> None:
    api.tree = "f" * 40
    with pytest.raises(HistoryError, match="not empty"):
        replay(history, api)
    assert not api.requests
    assert not api.slices


def test_another_tree_is_no_match(history: History, api: Api) -> None:
    api.final_tree = "f" * 40
    report = replay(history, api)
    assert not report.match
    assert not report.ok
    assert report.to_json()["match"] is False


def test_what_did_not_land_is_counted_and_kept_for_the_reader(history: History, api: Api) -> None:
    conflict = {
        "path": "src/a.py",
        "class": "content",
        "base": None,
        "head": {"mode": "100644", "id": "2" * 40},
        "submitted": None,
    }
    api.outcomes = {
        "Modes and pointers": {"status": "conflicted", "conflicts": [conflict]},
        "Away": {"status": "rejected", "reason": "base-not-landed", "detail": "its base is conflicted"},
    }
    report = replay(history, api)
    assert (report.changesets, report.landed, report.conflicted, report.rejected) == (5, 3, 1, 1)
    assert not report.ok
    told = [line for problem in report.problems for line in sentences(problem)]
    assert any("src/a.py (content): base none, head 100644 222222222222, submitted none" in line for line in told)
    assert any("base-not-landed, its base is conflicted" in line for line in told)


def test_a_changeset_that_no_list_shows_is_asked_for_by_its_id(history: History, api: Api) -> None:
    api.unlisted = {f"{number:026}" for number in range(3, 6)}
    assert replay(history, api).landed == 5


def test_a_duplicate_counts_as_what_became_of_the_first(history: History, api: Api) -> None:
    first = "0" * 26
    api.outcomes = {"Away": {"status": "rejected", "reason": "duplicate", "first": first}}
    report = replay(history, api)
    assert (report.landed, report.rejected, report.ok) == (5, 0, True)


def test_an_import_that_does_not_land_ends_the_replay(history: History, api: Api) -> None:
    api.outcomes = {"Import": {"status": "rejected", "reason": "outside-slice"}}
    with pytest.raises(HistoryError, match="outside-slice"):
        replay(history, api)


def test_a_refused_item_ends_the_replay_with_the_reason(
    history: History, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = {"status": 422, "problem": {"detail": "changesets[0].changes[0].path: is not nice"}}
    monkeypatch.setattr(api, "submit_many", lambda body, key: [refusal])
    with pytest.raises(HistoryError, match="is not nice"):
        replay(history, api)


def test_requests_stay_below_their_size_but_for_one_large_changeset(
    history: History, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.demo.run.REQUEST_BYTES", 400)
    report = replay(history, api)
    assert report.ok
    assert max(len(items) for _, items in api.requests) == 1


def test_a_changeset_beyond_the_limits_is_refused_by_its_commit(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = SourceCommit("c" * 40, "Ada", "a@b", "1970-01-01T00:00:00+00:00", "Large\n")
    gone = FileChange("a", "", "", "100644", "1" * 40)
    with pytest.raises(HistoryError, match=f"{'c' * 40} changes 10001 files"):
        list(changeset_items(history, [PlannedChangeset(commit, [gone] * 10_001)], "s", "base"))
    monkeypatch.setattr(bodies, "_MAX_BYTES", 100)
    with pytest.raises(HistoryError, match="no request can carry"):
        list(changeset_items(history, [PlannedChangeset(commit, [gone] * 10)], "s", "base"))


@pytest.mark.parametrize("content", [b"text\n", "grüße\u2028".encode(), b"\xff\xfe", b"a\0b", b"", b'"\\\r\n\x1f'])
def test_contents_arrive_exactly(tmp_path: Path, content: bytes) -> None:
    stream = b"commit refs/heads/main\ncommitter A <a@b> 1 +0000\ndata 1\nm\nM 100644 inline a\ndata %d\n%s\n"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path)], check=True)
    subprocess.run(["git", "fast-import", "--quiet"], cwd=tmp_path, input=stream % (len(content), content), check=True)
    with History(tmp_path) as history:
        [part] = bodies.change_parts(history, history.files(history.head))
    change = json.loads(part)
    sent = change["content"].encode() if "content" in change else base64.b64decode(change["content_base64"])
    assert sent == content


def test_a_lane_has_one_writer_at_a_time_and_all_of_it_is_done() -> None:
    lanes = [Lane(str(i), "", sent=[]) for i in range(5)]
    busy: set[str] = set()
    guard = threading.Lock()

    def work(lane: Lane) -> None:
        with guard:
            assert lane.slice_id not in busy
            busy.add(lane.slice_id)
        lane.sent.append("x")
        with guard:
            busy.remove(lane.slice_id)

    Writers(lanes, work, lambda lane: len(lane.sent) < 50).run(8)
    assert [len(lane.sent) for lane in lanes] == [50] * 5


def test_writers_without_work_end_at_once() -> None:
    Writers([], lambda lane: None, lambda lane: True).run(4)


def test_the_first_error_of_a_writer_ends_all_of_them() -> None:
    def work(lane: int) -> None:
        if lane == 3:
            raise HistoryError("three")

    with pytest.raises(HistoryError, match="three"):
        Writers([1, 2, 3, 4], work, lambda lane: True).run(2)
