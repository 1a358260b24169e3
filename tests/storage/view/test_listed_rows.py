"""The rows by which lists find changesets: read back in both directions, between any two positions."""

from __future__ import annotations

import random

from storage.base.ids import ChangesetId, PackId, Seq, SliceId, new_ulid
from storage.base.settings import Settings
from storage.log.entry import Commits, log_position
from storage.log.facts import digest_of
from storage.log.records import Decided, Facts, Status
from storage.repository import Repository
from storage.view.rows import Forgotten, effects, listed_in, listed_key
from storage.view.view import commands
from tests.support.compaction import compaction

AUTHORS = ("a@x", "b@x")


def entry(seq: int, authors: list[str]) -> Commits:
    decided = tuple(
        Decided(
            id=ChangesetId(new_ulid()), slice=SliceId("S"), pack=PackId("P"), status=Status.REJECTED,
            facts=Facts(author=("A", author), subject="m"),
        )
        for author in authors
    )  # fmt: skip
    return Commits(seq=Seq(seq), packs=(), decided=decided, tip="t", root="r", time=0, committed=0)


def test_a_batch_of_one_author_is_few_members_and_all_are_forgotten() -> None:
    made = entry(7, ["a@x"] * 130)
    [(key, members)] = [(k, m) for k, m in effects(made, "h").sorted_sets.items() if k.startswith("listed:")]
    assert key == listed_key(digest_of("author", "a@x")) and len(members) == 3
    listed = [row for member in sorted(map(bytes, members)) for row in listed_in(member)]
    assert listed == [(record.id, log_position(7, index)) for index, record in enumerate(made.decided)]
    forgotten = effects(compaction(7), "h", Forgotten(history=[(made, "h")]))
    assert sorted(forgotten.removed_members[key]) == sorted(members)


def test_what_stands_between_two_positions_is_read_in_either_direction(settings: Settings) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng, repo = random.Random(seed), Repository(settings)
    repo.prepare()
    view, rows = repo.view, {author: [] for author in AUTHORS}  # type: ignore[var-annotated]
    base = view.key("")
    for seq in range(5, 60):
        made = entry(seq, rng.choices(AUTHORS, k=rng.choice((1, 3, 90))))
        for index, record in enumerate(made.decided):
            assert record.facts
            rows[record.facts.author[1]].append((record.id, log_position(seq, index)))
        for name, key, *arguments in commands(effects(made, "h")):
            if key.startswith("listed:"):
                view.redis.execute_command(name, base + key, *arguments)
    for _ in range(60):
        author = rng.choice(AUTHORS)
        low, high = sorted(rng.choices([-1, 1 << 50, *(position for _, position in rows[author])], k=2))
        limit = rng.choice((1, 5, 64, 100, 5000))
        wanted = [row for row in rows[author] if low < row[1] < high]
        digest = digest_of("author", author)
        assert view.listed(digest, low, high, limit) == wanted[:limit]
        assert view.listed(digest, low, high, limit, newest_first=True) == wanted[::-1][:limit]
