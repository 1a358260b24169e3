"""The stream of events as docs/api.md has it: what is told, in which order, to whom, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from queue import SimpleQueue
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from app.client.event_stream import EventStream
from app.service import event_streams
from app.service.services import Services
from storage.backends.bucket import BucketError
from storage.base.settings import Settings
from storage.commit.batch import commit_batch
from storage.commit.global_merge import merge_batch
from storage.log.log import Log
from tests.support.api import Api, Json

Told = tuple[str, str, str]  # id, event, changeset


def open_stream(api: Api, last: str | None = None, status: int = 200, **query: Any) -> TestResponse:
    headers = {"Last-Event-ID": last} if last is not None else {}
    answer = api.http.get("/v1/events", query_string=query, headers=headers)
    assert answer.status_code == status, answer.data if status != 200 else ""
    return answer


def blocks(answer: TestResponse) -> Iterator[Json]:
    """Yield the blocks of a stream: fields by name, comments under the empty one."""
    for piece in answer.iter_encoded():
        *found, rest = piece.decode().split("\n\n")
        assert rest == "", "a piece is whole blocks"
        for block in found:
            yield dict(line.split(": ", 1) for line in block.split("\n"))


def read(answer: TestResponse, count: int) -> list[Told]:
    """Return the next events."""
    found: list[Told] = []
    for block in blocks(answer):
        if "data" in block:
            found.append((block["id"], block["event"], json.loads(block["data"])["id"]))
        if len(found) >= count:
            break
    return found


def all_after(api: Api, after: str, count: int, **query: Any) -> list[Told]:
    with closing(open_stream(api, after=after, **query)) as answer:
        return read(answer, count)


def services(api: Api) -> Services:
    return api.http.application.extensions["sluice"]


def test_the_life_of_changesets_is_told_in_log_order(api: Api) -> None:
    base = api.tip
    with closing(open_stream(api)) as answer:
        assert answer.mimetype == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store" and answer.headers["X-Accel-Buffering"] == "no"
        first, other = api.put("f", "1", base)["id"], api.put("g", "1", base)["id"]
        late = api.put("f", "2", base)["id"]
        commit_batch(api.world.repo)
        wrong = api.submit(base=api.tip, changes=[{"op": "mode", "path": "none", "mode": "100755"}])["id"]
        commit_batch(api.world.repo)
        merge_batch(api.world.repo)
        held = api.submit(base=api.tip, changes=[{"op": "put", "path": "h", "content": "1"}], hold=True)["id"]
        api.post(f"/changesets/{held}/release", None, 200)
        taken = api.submit(base=api.tip, changes=[{"op": "put", "path": "i", "content": "1"}], hold=True)["id"]
        api.post(f"/changesets/{taken}/abandon", None, 200)
        api.world.work()
        expected = [
            ("3-0", "committed", first),
            ("3-1", "committed", other),
            ("3-2", "conflicted", late),
            ("4-0", "rejected", wrong),
            ("5-0", "landed", first),
            ("5-1", "landed", other),
            ("6-0", "released", held),
            ("7-0", "abandoned", taken),
            ("8-0", "committed", held),
            ("9-0", "landed", held),
        ]
        assert read(answer, len(expected)) == expected
    for i, (event, _, _) in enumerate(expected[:-1]):
        assert all_after(api, event, len(expected) - i - 1) == expected[i + 1 :], f"behind {event}"
    assert all_after(api, "0", len(expected)) == expected, "from the beginning"
    assert all_after(api, "5", 4) == expected[6:], "behind an entry"
    with closing(open_stream(api, last="8-0", after="0")) as answer:
        assert read(answer, 1) == expected[-1:], "the header wins over the URL, which a browser repeats"
    with closing(open_stream(api, last="", after="8-0")) as answer:
        assert read(answer, 1) == expected[-1:]


def test_an_event_says_what_a_listener_needs(api: Api) -> None:
    base = api.tip
    api.put("f", "1", base)
    api.put("f", "2", base)
    api.world.work()
    with closing(open_stream(api, after="0")) as answer:
        told = [json.loads(block["data"]) for block in blocks_until(answer, 3)]
    slice_id = api.get("/slices/all")["id"]
    shown = [api.get(f"/changesets/{each['id']}") for each in told]
    said = ("author", "message")
    first = {name: shown[0][name] for name in ("id", "slice", "seq", "commit", "status", *said)}
    assert told[0] == first | {"status": "committed"}
    collided = {"id": shown[1]["id"], "slice": slice_id, "status": "conflicted", "seq": 3, "conflicts": ["f"]}
    assert told[1] == collided | {name: shown[1][name] for name in said}
    assert told[2] == first, "as it is shown"


def blocks_until(answer: TestResponse, count: int) -> list[Json]:
    found: list[Json] = []
    for block in blocks(answer):
        if "data" in block:
            found.append(block)
        if len(found) == count:
            break
    return found


def test_a_stream_begins_with_an_id_so_that_an_early_cut_misses_nothing(api: Api) -> None:
    with closing(open_stream(api)) as answer:
        begin = next(blocks(answer))
    assert begin == {"retry": "1000", "id": "2"}, "behind the newest entry, and no event"
    made = api.put("f", "1")["id"]
    api.world.work()
    assert all_after(api, begin["id"], 2) == [("3-0", "committed", made), ("4-0", "landed", made)]


def test_a_slice_has_its_own_events_under_the_same_ids(api: Api) -> None:
    web = api.post("/slices", {"name": "team/web", "paths": ["web/"]}, 201).get_json()
    made = [api.submit(where=where, base=api.tip, changes=[{"op": "put", "path": path, "content": "1"}])["id"]
            for where, path in (("all", "a"), ("team%2Fweb", "web/a"), ("all", "b"), ("team%2Fweb", "web/b"))
    ]  # fmt: skip
    held = api.submit(
        where="team%2Fweb", base=api.tip, changes=[{"op": "put", "path": "web/c", "content": "1"}], hold=True
    )
    api.world.work()
    api.post(f"/changesets/{held['id']}/release", None, 200)
    everything = {(event, changeset): at for at, event, changeset in all_after(api, "0", 9)}
    expected = [("committed", made[1]), ("committed", made[3]), ("landed", made[1]), ("landed", made[3]),
                ("released", held["id"])]  # fmt: skip
    for name in (web["id"], "team/web"):
        found = all_after(api, "0", len(expected), slice=name)
        assert sorted(found, key=lambda each: int(each[0].split("-")[0])) == found
        assert {(event, changeset) for _, event, changeset in found} == set(expected)
        assert all(everything[event, changeset] == at for at, event, changeset in found)


@pytest.mark.parametrize(
    ("last", "query", "field"),
    [
        ("x", {}, "Last-Event-ID"),
        ("1-", {"after": "0"}, "Last-Event-ID"),
        (None, {"after": "x"}, "after"),
        (None, {"after": ""}, "after"),
        (None, {"after": "0-0"}, "after"),
        ("3", {}, "Last-Event-ID"),
        (None, {"after": "3-0"}, "after"),
        (None, {"after": "999999999999"}, "after"),
        (None, {"after": "2-0"}, "after"),
        (None, {"afer": "1"}, "afer"),
        (None, {"after": ["1", "2"]}, "after"),
        (None, {"limit": "5"}, "limit"),
    ],
)
def test_what_is_no_event_of_this_log_is_refused(api: Api, last: str | None, query: Json, field: str) -> None:
    refused = open_stream(api, last, 422, **query)
    assert refused.mimetype == "application/problem+json"
    assert refused.get_json(force=True)["errors"][0]["field"] == field
    assert services(api).streams.open == 0


def test_an_unknown_slice_is_not_found(api: Api) -> None:
    assert open_stream(api, status=404, slice="none").get_json(force=True)["detail"] == "there is no slice 'none'"


def test_an_id_that_redis_forgot_is_one_of_the_log_all_the_same(api: Api) -> None:
    api.put("f", "1")
    repo = api.world.repo
    head = repo.view.key("head")
    before = repo.redis.hgetall(head)
    api.world.work()
    repo.redis.hset(head, mapping=before)  # an older copy of Redis has come back
    open_stream(api, "4-0").close()
    open_stream(api, "5-0", status=422)


def test_places_are_bounded_and_given_back_however_a_stream_ends(settings: Settings, unsent: SimpleQueue[str]) -> None:
    api = Api(replace(settings, max_streams=2))
    first, second = open_stream(api), open_stream(api)
    for _ in range(3):
        full = open_stream(api, status=429)
        assert "max_streams" in full.get_json(force=True)["detail"] and int(full.headers["Retry-After"]) >= 1
    next(blocks(first))
    first.close()
    third = open_stream(api)  # never read
    open_stream(api, status=429)
    second.close()
    third.close()
    assert services(api).streams.open == 0
    for _ in range(3):
        with closing(api.http.head("/v1/events")) as answer:
            assert answer.status_code == 200
    assert services(api).streams.open == 0


def test_a_stream_ends_and_who_comes_back_again_and_again_is_told_all_once(
    settings: Settings, unsent: SimpleQueue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "_PIECE_EVENTS", 3)
    api = Api(replace(settings, max_stream_seconds=0.0, commit_changesets=4))
    made = [api.put(f"f{i}", "1")["id"] for i in range(10)]
    api.world.work()
    last, found = "0", []
    while len(found) < 20:
        with closing(open_stream(api, last)) as answer:
            told = list(blocks(answer))
        found += [(block["event"], json.loads(block["data"])["id"]) for block in told if "data" in block]
        last = told[-1]["id"]
        assert "data" not in told[-1] or len(told) > 1
    assert found == [(event, each) for event in ("committed", "landed") for each in made]


def test_comments_break_silence_and_move_the_id_over_other_slices_events(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.post("/slices", {"name": "web", "paths": ["web/"]}, 201)
    monkeypatch.setattr(event_streams, "KEEP_ALIVE", 0.0)
    with closing(open_stream(api, slice="web", after="0")) as answer:
        told = blocks(answer)
        assert next(told) == {"retry": "1000", "id": "0"}
        until = monotonic() + 60
        for block in told:
            assert block.keys() == {"", "id"} or block.keys() == {": keep-alive", "id"}
            if block["id"] == "3" or monotonic() > until:
                break
        assert block["id"] == "3", "the entry behind which nothing is"


def test_an_entry_is_read_once_for_all_streams(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    original = Log.read

    def counted(self: Log, seq: int) -> bytes | None:
        reads.append(seq)
        return original(self, seq)

    made = [api.put(f"f{i}", "1")["id"] for i in range(3)]
    api.world.work()
    monkeypatch.setattr(Log, "read", counted)
    for _ in range(5):
        assert [changeset for _, _, changeset in all_after(api, "0", 6)] == made * 2
    assert sorted(reads) == [1, 2, 3, 4]


def test_a_bucket_that_is_away_is_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = api.put("f", "1")["id"]
    api.world.work()
    original, fails = Log.read, [BucketError("away"), BucketError("away")]

    def flaky(self: Log, seq: int) -> bytes | None:
        if seq == 4 and fails:
            raise fails.pop()
        return original(self, seq)

    monkeypatch.setattr(Log, "read", flaky)
    monkeypatch.setattr(event_streams, "AT_LEAST_EVERY", 0.01)
    assert all_after(api, "0", 2) == [("3-0", "committed", made), ("4-0", "landed", made)]
    assert not fails


def test_what_is_told_is_bounded_in_memory_and_told_all_the_same(api: Api) -> None:
    made = [api.put(f"f{i}", "1")["id"] for i in range(3)]
    api.world.work()
    small = event_streams.Entries(api.world.repo, cache_bytes=1)
    services(api).streams.entries = small
    assert [changeset for _, _, changeset in all_after(api, "0", 6)] == made * 2
    assert len(small._cache) == 0


EVENTS = [
    {"id": "3-0", "event": "committed", "data": {"id": "a"}},
    {"id": "3-1", "event": "message", "data": {"id": "b"}},
    {"id": "3-1", "event": "landed", "data": ["two", "lines"]},
]
TEXT = (
    'retry: 250\nid: 2\n\n: keep-alive\n\nid: 3-0\nevent: committed\ndata: {"id": "a"}\n\n'
    'id:3-1\nunknown: x\ndata:{"id": "b"}\n\nevent: landed\ndata: ["two",\ndata: "lines"]\n\nid: 4\n\n'
)


@given(st.lists(st.integers(0, len(TEXT) * 2)), st.sampled_from(["\n", "\r\n", "\r"]))
def test_a_client_reads_the_same_events_however_their_bytes_arrive(cuts: list[int], line_end: str) -> None:
    data = TEXT.replace("\n", line_end).encode() + b":"
    reader, bounds = EventStream(), [0, *sorted(cuts), len(data)]
    found = [event for i, j in pairwise(bounds) for event in reader.feed(data[i:j])]
    assert found == EVENTS and reader.last_id == "4" and reader.retry == 0.25


@given(st.integers(0, len(TEXT)))
def test_a_client_that_is_cut_off_resumes_after_the_last_whole_event(cut: int) -> None:
    reader = EventStream()
    found = list(reader.feed(TEXT[:cut].encode()))
    known = {"": 0, "2": 0, "3-0": 1, "3-1": 2, "4": 3}[reader.last_id]
    assert found[:known] == EVENTS[:known] and len(found) - known in {0, 1}
    reader.begin()
    assert list(reader.feed(b"id: 5-0\nevent: landed\ndata: {}\n\n")) == [{"id": "5-0", "event": "landed", "data": {}}]


def test_a_stream_that_reads_from_a_slow_bucket_is_not_silent_for_longer(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "fgh":
        api.put(name, "1")
        commit_batch(api.world.repo)
    merge_batch(api.world.repo)
    merged = event_streams.Position(api.world.repo.view.head().applied)
    monkeypatch.setattr(event_streams, "KEEP_ALIVE", 900.0)
    assert len(list(services(api).streams._pieces(merged, lambda event: True))) == 1
    monkeypatch.setattr(event_streams, "KEEP_ALIVE", -1.0)  # as if each entry took as long to read
    assert len(list(services(api).streams._pieces(merged, lambda event: True))) == 4
