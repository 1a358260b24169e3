"""Lists of changesets hold what a look at every changeset gives, whatever is archived, lost or hidden."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from app.access import visibility
from app.protocol import cursors
from app.routes import changeset_lists
from storage.base.settings import Settings
from storage.operations import history
from tests.support.api import Api, Json
from tests.support.compaction import aged, compacted, emptied
from tests.support.principals import grants, principal, secured
from tests.support.redis_rows import drop_shared

pytestmark = pytest.mark.usefixtures("unsent")

FINAL = ("landed", "committed", "conflicted", "rejected", "abandoned")
WAITING = ("queued", "held")
AUTHORS = [{"name": name, "email": f"{name.lower()}@example.org"} for name in ("Ada", "Bob", "Cy")]
PATHS = ["docs/a", "docs/b", "docs/c", "src/a", "src/b"]
TICKETS = ["A-1", "A-2", "B:3 ü"]


class Many:
    """A repository with many changesets of two principals, and what is known of each."""

    def __init__(self, settings: Settings, seed: int, count: int = 60) -> None:
        self.root = secured(aged(settings))
        self.random = random.Random(seed)
        for name, path in (("docs", "docs/"), ("src", "src/")):
            self.root.post("/slices", {"name": name, "paths": [path]}, 201)
        grants(
            self.root, "user:a writer /", "user:b writer /", "user:outside reader docs/", "user:outside writer docs/"
        )
        self.clients = {name: principal(self.root, name) for name in ("user:a", "user:b")}
        self.outside = principal(self.root, "user:outside")
        self.slices = {name: self.root.get(f"/slices/{name}")["id"] for name in ("docs", "src", "all")}
        self.paths: dict[str, list[str]] = {}  # of each changeset, what it changes
        self.base = self.root.tip
        for number in range(count):
            self.submit()
            if number % 7 == 6:
                self.root.world.work()
            if number % 20 == 19:
                self.base = self.root.tip
        for _ in range(3):
            self.submit()

    def submit(self, stays: bool = False, **more: Any) -> str:
        """Submit something; some of it is abandoned at once, unless it `stays`."""
        rng = self.random
        paths = rng.sample(PATHS, rng.randint(1, 2))
        place = paths[0].partition("/")[0]
        where = place if all(path.startswith(place) for path in paths) and rng.random() < 0.7 else "all"
        body: Json = {
            "base": rng.choice([self.base, self.root.tip]),
            "author": rng.choice(AUTHORS),
            "message": rng.choice(["Short", "Subject\n\nWith a body.\n", "x" * 300]),
            "changes": [{"op": "put", "path": path, "content": f"{rng.random()}\n"} for path in paths],
            "hold": rng.random() < 0.15,
        }
        if rng.random() < 0.6:
            body["labels"] = {"ticket": rng.choice(TICKETS)} | ({"kind": "fix"} if rng.random() < 0.5 else {})
        made = rng.choice(list(self.clients.values())).submit(where=where, **body, **more)["id"]
        self.paths[made] = paths
        if rng.random() < 0.1 and not stays:
            self.root.post(f"/changesets/{made}/abandon", {}, 200)
        return str(made)

    def known(self) -> list[Json]:
        """Every changeset as its own answer shows it, with the paths by which it is found, oldest first."""
        shown = []
        for each, paths in self.paths.items():
            told = self.root.get(f"/changesets/{each}")
            found = paths if told["status"] in (*WAITING, "landed", "committed") else []
            if told["status"] == "conflicted":
                found = [conflict["path"] for conflict in told["conflicts"]]
            shown.append({**told, "found": found})
        return sorted(shown, key=self.order)

    def order(self, told: Json) -> tuple[int, int, str]:
        outcome = self.root.world.repo.outcome(told["id"])
        return (outcome.seq, outcome.index, "") if outcome else (1 << 60, 0, told["id"])

    def filters(self) -> Json:
        """Some filters, chosen at random."""
        rng = self.random
        every: Json = {
            "submitter": rng.choice([*self.clients, "user:none"]),
            "author": rng.choice(AUTHORS)["email"],
            "slice": rng.choice(list(self.slices)),
            "path": rng.choice(PATHS),
            "status": rng.choice((*FINAL, *WAITING)),
            "label": f"ticket:{rng.choice(TICKETS)}",
            "since": rng.choice(list(self.times())),
        }
        return {name: every[name] for name in rng.sample(list(every), rng.choice((0, 1, 1, 2, 2, 3)))}

    def times(self) -> Iterator[str]:
        for each in list(self.paths)[::9]:
            yield self.root.get(f"/changesets/{each}")["submitted"].replace("+00:00", "Z")

    def passes(self, told: Json, asked: Json) -> bool:
        label = asked.get("label", "").partition(":")
        since = datetime.fromisoformat(asked["since"]).replace(microsecond=0) if "since" in asked else None
        return (
            asked.get("submitter") in (None, told["submitter"])
            and asked.get("author") in (None, told["author"]["email"])
            and ("slice" not in asked or self.slices[asked["slice"]] == told["slice"])
            and asked.get("path") in (None, *told["found"])
            and asked.get("status") in (None, told["status"])
            and ("label" not in asked or told.get("labels", {}).get(label[0]) == label[2])
            and (since is None or datetime.fromisoformat(told["submitted"]) >= since)
        )


def pages(api: Api, limit: int, **query: Any) -> Iterator[Json]:
    """Yield the items of the list by pages of `limit`."""
    cursor: Json = {}
    while True:
        page = api.get("/changesets", limit=limit, **query, **cursor)
        assert len(page["items"]) <= limit
        yield from page["items"]
        if page["next"] is None:
            return
        cursor = {"cursor": page["next"]}


def check_lists(many: Many, api: Api, rounds: int) -> None:
    known = many.known()
    for _ in range(rounds):
        asked = many.filters()
        wanted = [told["id"] for told in known if many.passes(told, asked)]
        for order, expected in (("newest", wanted[::-1]), ("oldest", wanted)):
            limit = many.random.choice((1, 3, 7, 200))
            listed = [told["id"] for told in pages(api, limit, order=order, **asked)]
            assert listed == expected, (asked, order, limit)


@pytest.fixture
def many(settings: Settings, request: pytest.FixtureRequest) -> Many:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    return Many(settings, seed)


def test_any_filters_in_either_order_give_what_a_look_at_all_gives(many: Many, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changeset_lists, "_TOGETHER", 5)
    statuses = {told["status"] for told in many.known()}
    assert statuses >= {"landed", "conflicted", "abandoned", "queued", "held"}
    check_lists(many, many.root, 60)


def test_what_is_archived_is_listed_as_before(many: Many, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {each: many.root.get(f"/changesets/{each}") for each in many.paths}
    compacted(many.root.world)
    compacted(many.root.world.reopened(gc_grace=-1000.0))
    drop_shared(many.root.world)
    assert many.root.world.repo.view.head().archived
    monkeypatch.setattr(history, "MAX_READ", 3)
    monkeypatch.setattr(changeset_lists, "_TOGETHER", 5)
    for each, told in before.items():
        passing = ("eta", "passed_by") if told["status"] == "queued" else ()
        now = many.root.get(f"/changesets/{each}")
        assert {**now, **{name: told[name] for name in passing}} == told
    check_lists(many, many.root, 30)


def test_after_redis_lost_everything_the_lists_are_the_same(many: Many) -> None:
    before = {order: list(pages(many.root, 200, order=order)) for order in ("newest", "oldest")}
    emptied(many.root.world)
    assert {order: list(pages(many.root, 200, order=order)) for order in ("newest", "oldest")} == before
    check_lists(many, many.root, 20)


def test_nobody_finds_what_it_may_not_see_by_any_filter(many: Many) -> None:
    known = many.known()
    for _ in range(30):
        asked = many.filters()
        if asked.get("slice") in ("src", "all"):
            assert many.outside.get("/changesets", 404, **asked)
            continue
        readable = [
            told["id"]
            for told in known
            if many.passes(told, asked)
            and all(path.startswith("docs/") for path in many.paths[told["id"]])
            and asked.get("path", "docs/").startswith("docs/")
        ]
        page = many.outside.get("/changesets", limit=200, **asked)
        assert [told["id"] for told in page["items"]] == readable[::-1], asked
        assert page["next"] is None


def test_a_filter_by_what_is_hidden_ends_as_one_by_what_is_not_there(settings: Settings) -> None:
    many = Many(settings, 1, count=0)
    for _ in range(4):
        many.clients["user:a"].submit(
            base=many.root.tip, changes=[{"op": "put", "path": "src/x", "content": "1"}], labels={"ticket": "S-1"}
        )
    for asked in ({"label": "ticket:S-1"}, {"label": "ticket:none"}, {"submitter": "user:a", "path": "src/x"}):
        assert many.outside.get("/changesets", limit=1, **asked) == {"items": [], "next": None}


def test_a_base_is_named_to_those_who_may_know_of_it(settings: Settings) -> None:
    many = Many(settings, 1, count=0)
    put = lambda path: [{"op": "put", "path": path, "content": "1"}]  # noqa: E731
    hidden = many.root.submit(base=many.root.tip, changes=put("src/x"))["id"]
    shown = many.root.submit(base=many.root.tip, changes=put("docs/x"))["id"]
    for decided in (False, True):
        for base, told in ((hidden, None), (shown, shown)):
            stacked = many.root.submit(base=base, changes=put("docs/y" + base))["id"]
            if decided:
                many.root.world.work()
            assert many.root.get(f"/changesets/{stacked}")["base"] == base
            assert many.outside.get(f"/changesets/{stacked}").get("base") == told
            listed = {each["id"]: each for each in many.outside.get("/changesets")["items"]}
            assert listed[stacked].get("base") == told and hidden not in listed


def test_a_changeset_tells_what_its_writer_said(many: Many) -> None:
    told = many.submit(stays=True, key="once")
    waiting = many.root.get(f"/changesets/{told}")
    many.root.world.work()
    for message, cut in (("m", False), ("Subject\n\nBody\n\nSigned-off-by: A <a@b>", True), ("y" * 200, True)):
        made = many.clients["user:a"].submit(
            base=many.root.tip, message=message, author=AUTHORS[0], labels={"b": "2", "a": "1"}, hold=True,
            changes=[{"op": "put", "path": f"docs/n{i}", "content": "x"} for i in range(20)],
        )["id"]  # fmt: skip
        for status in ("held", "landed"):
            if status == "landed":
                many.root.post(f"/changesets/{made}/release", {}, 200)
                many.root.world.work()
            one = many.root.get(f"/changesets/{made}")
            assert one["status"] == status and one["message"] == message and "message_cut" not in one
            assert (
                one["author"] == AUTHORS[0] and one["submitter"] == "user:a" and one["labels"] == {"a": "1", "b": "2"}
            )
            assert one["paths"] == ["docs/"] and one["path_count"] == 20 and len(one["base"]) == 40
            listed = many.root.get("/changesets", limit=1, label="a:1", status=status)["items"][0]
            assert (
                listed["id"] == made
                and listed.get("message_cut", False) == cut
                and message.startswith(listed["message"])
            )
        assert one["submitted"] <= datetime.now(UTC).isoformat() and one["decided"] and one["landed"]
    assert waiting["paths"] == sorted(many.paths[told]) and "decided" not in waiting


def test_labels_are_part_of_what_a_key_stands_for(many: Many) -> None:
    body: Json = {"base": many.root.tip, "changes": [{"op": "put", "path": "docs/l", "content": "1"}]}
    first = many.root.submit(key="k", labels={"x": "1", "y": "2"}, **body)
    assert many.root.submit(key="k", labels={"y": "2", "x": "1"}, **body)["id"] == first["id"]
    many.root.submit(422, key="k", labels={"x": "2"}, **body)
    many.root.submit(422, key="k", **body)


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ([], "labels"),
        ({"a": 1}, "labels.a"),
        ({"a b": "1"}, "labels.a b"),
        ({"a:b": "1"}, "labels.a:b"),
        ({"a": ""}, "labels.a"),
        ({"a": "x\ny"}, "labels.a"),
        ({f"k{i}": "1" for i in range(9)}, "labels"),
        ({"a": "x" * 600}, "labels"),
    ],
)
def test_bad_labels_are_refused_by_their_name(api: Api, labels: Any, field: str) -> None:
    change = {"op": "put", "path": "f", "content": "1"}
    refused = api.submit(422, base=api.tip, changes=[change], labels=labels)
    assert [error["field"] for error in refused["errors"]] == [field]


def test_a_replacement_keeps_the_labels(api: Api) -> None:
    base = api.tip
    api.put("f", "1", base)
    api.world.work()
    put = [{"op": "put", "path": "f", "content": "2"}]
    lost = api.submit(base=base, changes=put, labels={"t": "1"})["id"]
    api.world.work()
    body = {"paths": {"f": {"take": "theirs"}}}
    made = api.post(f"/changesets/{lost}/resolve", body, 202).get_json(force=True)["id"]
    assert api.get(f"/changesets/{made}")["labels"] == {"t": "1"}


def test_the_states_of_many_come_in_one_answer_and_in_order(many: Many) -> None:
    ids = [*many.paths, "01J0000000000000000000000A"]
    many.random.shuffle(ids)
    told = many.root.post("/changesets/status", {"ids": ids}, 200).get_json(force=True)["items"]
    assert [each["id"] for each in told] == ids
    for each in told:
        if each["id"] not in many.paths:
            assert each == {"id": each["id"], "status": "unknown"}
            continue
        alone = many.root.get(f"/changesets/{each['id']}")
        assert each["status"] == alone["status"] and each["author"] == alone["author"] and "conflicts" not in each
    seen = many.outside.post("/changesets/status", {"ids": ids}, 200).get_json(force=True)["items"]
    for each in seen:
        readable = all(path.startswith("docs/") for path in many.paths.get(each["id"], ["/"]))
        assert (each["status"] != "unknown") == readable


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "ids"),
        ({"ids": "x"}, "ids"),
        ({"ids": ["x"]}, "ids[0]"),
        ({"ids": ["0" * 26] * 1001}, "ids"),
        ({"ids": []}, "ids"),
    ],
)
def test_what_is_no_list_of_ids_is_refused(api: Api, body: Json, field: str) -> None:
    answer = api.http.post("/v1/changesets/status", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.get_json(force=True)["errors"]] == [field]


@pytest.mark.parametrize("query", ["label=x", "label=:x", "since=yesterday", "order=up", "status=lost", "path=/x"])
def test_a_filter_that_is_malformed_is_refused(api: Api, query: str) -> None:
    answer = api.http.get(f"/v1/changesets?{query}")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.get_json(force=True)["errors"]] == [query.partition("=")[0]]


def test_a_cursor_belongs_to_its_filters(many: Many) -> None:
    page = many.root.get("/changesets", limit=1, submitter="user:a")
    many.root.get("/changesets", 422, limit=1, submitter="user:b", cursor=page["next"])
    many.root.get("/changesets", 422, limit=1, submitter="user:a", order="oldest", cursor=page["next"])


def test_what_is_decided_while_it_is_listed_is_not_left_out(many: Many) -> None:
    for order in ("newest", "oldest"):
        for _ in range(6):
            many.submit()
        listed, cursor = set(), None
        while True:
            page = many.root.get("/changesets", limit=4, order=order, **({"cursor": cursor} if cursor else {}))
            listed |= {told["id"] for told in page["items"]}
            cursor = page["next"]
            if cursor is None:
                break
            many.root.world.work()
        assert listed == set(many.paths)


def test_activity_and_global_commits_tell_authors_and_messages(many: Many) -> None:
    many.root.world.work()
    body: Json = {"base": many.root.tip, "message": "One\n\ntwo", "author": AUTHORS[1], "labels": {"t": "1"}}
    changes = [{"op": "put", "path": "docs/seen", "content": "1"}]
    made = many.clients["user:b"].submit(where="docs", changes=changes, **body)["id"]
    [told] = many.root.get("/paths/docs/seen")["queued"]
    expected = {"author": AUTHORS[1], "submitter": "user:b", "message": "One", "labels": {"t": "1"}}
    assert told["id"] == made and told["slice_name"] == "docs" and told.items() >= expected.items()
    many.root.world.work()
    main = many.root.get("/head")["main"]["commit"]
    [merged] = many.root.get(f"/commits/{main}/changesets")["items"]
    assert merged["changeset"] == made and merged.items() >= expected.items()
    commits = many.root.get("/slices/docs/commits", limit=200)["items"]
    assert {**commits[-1], "message": "One"}.items() >= expected.items()


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_cursor_that_nobody_gave_finds_nothing(settings: Settings, order: str) -> None:
    root = secured(settings)
    filters = {"submitter": "root", "order": int(order == "newest")}
    cursor = cursors.encode("listed", filters, ("", cursors.MAX_NUMBER))
    assert root.get("/changesets", submitter="root", order=order, cursor=cursor) == {"items": [], "next": None}


def test_who_may_know_of_a_waiting_changeset_is_told_without_its_pack(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = Many(settings, 1, count=0)
    put = lambda path: [{"op": "put", "path": path, "content": "1"}]  # noqa: E731
    theirs = {place: many.root.submit(base=many.root.tip, changes=put(f"{place}/x"))["id"] for place in ("docs", "src")}
    monkeypatch.setattr(visibility, "read_changesets", lambda *_: pytest.fail("its manifest is read"))
    assert [each["id"] for each in many.outside.get("/changesets", status="queued")["items"]] == [theirs["docs"]]
    shown = many.outside.post("/changesets/status", {"ids": list(theirs.values())}, 200).get_json(force=True)
    assert [each["status"] for each in shown["items"]] == ["queued", "unknown"]


def test_the_url_of_many_states_is_no_changeset(api: Api) -> None:
    answer = api.http.options("/v1/changesets/status")
    assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    assert api.http.get("/v1/changesets/status").status_code == 405
    assert api.http.get("/v1/changesets/statuses").status_code == 422
