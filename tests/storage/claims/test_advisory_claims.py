"""Advisory claims: found by their paths, bounded, and over by the clock of Redis."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from storage.backends.redis_client import connect
from storage.base.errors import LimitReached
from storage.base.ids import new_ulid
from storage.base.settings import Settings
from storage.claims import AdvisoryClaim, AdvisoryClaims, ClaimEvent, overlap
from storage.view.view import View
from tests.support.waiting import await_true

WHO = "agent:a"


def made_with(settings: Settings) -> AdvisoryClaims:
    return AdvisoryClaims(settings, View(settings, connect(settings)))


@pytest.fixture
def claims(redis_settings: Settings) -> AdvisoryClaims:
    return made_with(redis_settings)


def claim(claims: AdvisoryClaims, *paths: str, who: str = WHO, seconds: float = 600.0) -> AdvisoryClaim:
    return claims.make(who, [path.encode() for path in paths], f"at {paths}", seconds)


def at(claims: AdvisoryClaims, path: str | None, limit: int = 100) -> list[str]:
    """The paths that are claimed at a path, read in pages of `limit`."""
    found: list[tuple[bytes, str]] = []
    while page := claims.at(None if path is None else path.encode(), found[-1] if found else None, limit):
        found += page
    return [row[0].decode() for row in found]


def test_a_claim_is_told_as_it_was_made(claims: AdvisoryClaims) -> None:
    made = claim(claims, "docs/", "a", "/")
    assert claims.some([made.id, new_ulid()]) == {made.id: made}
    assert made.paths == (b"docs/", b"a", b"/") and made.principal == WHO and made.intent == "at ('docs/', 'a', '/')"
    assert claims.of(WHO, "", 10) == [made.id] and claims.of("agent:b", "", 10) == []


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_what_is_claimed_at_above_and_below_a_path_is_found_in_pages(claims: AdvisoryClaims, limit: int) -> None:
    for path in ("/", "docs/", "docs/a", "docs/a/b", "docs/a/b/", "docs/ab", "docs.md", "doc", "src/"):
        claim(claims, path)
    assert at(claims, "docs/a", limit) == ["/", "docs/", "docs/a", "docs/a/b", "docs/a/b/"]
    assert at(claims, "docs", limit) == ["/", "docs/", "docs/a", "docs/a/b", "docs/a/b/", "docs/ab"]
    assert at(claims, "src/deep/down", limit) == ["/", "src/"]
    assert at(claims, "doc/a", limit) == ["/", "doc"], "a file is in the way of a directory"
    assert at(claims, None, limit) == [
        "/", "doc", "docs.md", "docs/", "docs/a", "docs/a/b", "docs/a/b/", "docs/ab", "src/",
    ]  # fmt: skip


def test_what_is_found_is_what_overlaps(claims: AdvisoryClaims) -> None:
    seed = random.randrange(1 << 32)
    chance, names = random.Random(seed), ["a", "a-", "a.b", "b", "é"]

    def path() -> str:
        parts = [chance.choice(names) for _ in range(chance.randint(1, 3))]
        return "/".join(parts) + chance.choice(["", "/"])

    made = sorted({path() for _ in range(60)} | {"/"})
    for each in made:
        claim(claims, each)
    for _ in range(60):
        asked = path().removesuffix("/")
        expected = [each for each in made if overlap(each.encode(), asked.encode())]
        assert sorted(at(claims, asked)) == expected, (seed, asked)
        holding = [each for each in made if each in {"/", asked} or (each.endswith("/") and asked.startswith(each))]
        over = claims.over([asked.encode()], 100)
        assert sorted(row[0].decode() for row in over) == holding, (seed, asked)


def test_whose_changes_they_are_is_told_of_others_claims_alone(claims: AdvisoryClaims) -> None:
    mine, others = claim(claims, "docs/"), claim(claims, "docs/", "a", who="agent:b")
    files = [b"docs/x", b"docs/y", b"a"]
    assert claims.over(files, 10, WHO) == [(b"docs/", others.id), (b"a", others.id)]
    assert {row[1] for row in claims.over(files, 10)} == {mine.id, others.id}
    assert len(claims.over(files, 2)) == 2
    assert claims.over([b"src/x"], 10) == [] and claims.over([], 10) == []


def test_a_claim_is_over_by_the_clock_of_redis_and_leaves_nothing(claims: AdvisoryClaims) -> None:
    kept = claim(claims, "docs/")
    over = claim(claims, "docs/", "src/", seconds=0.001)
    await_true(lambda: over.id not in claims.some([over.id]))
    assert claims.at(b"src", None, 10) == [] and claims.at(b"docs", None, 10) == [(b"docs/", kept.id)]
    assert claims.renew(over.id, 600) is None, "it is over, whether it is forgotten or not"
    await_true(lambda: claims.end_expired() == 0 and not claims.end(over.id))
    assert claims.end(kept.id) and not claims.end(kept.id)
    assert list(claims._redis.scan_iter(claims._prefix.replace("{", "[{]").replace("}", "[}]") + "*")) == []


def test_a_claim_is_renewed_from_now_on_and_ended(claims: AdvisoryClaims) -> None:
    made = claim(claims, "docs/", seconds=60)
    renewed = claims.renew(made.id, 600, "still at it")
    assert renewed is not None and renewed == made._replace(intent="still at it", ends=renewed.ends)
    assert renewed.ends - made.ends >= 540
    again = claims.renew(made.id, 30)
    assert again is not None and again.intent == "still at it" and again.ends < made.ends
    assert claims.end(made.id)
    assert claims.renew(made.id, 600) is None and claims.some([made.id]) == {} == claims.some([])


def test_claims_are_bounded_for_each_principal_and_for_all(redis_settings: Settings) -> None:
    claims = made_with(replace(redis_settings, max_claims_per_principal=2, max_claims=3))
    first = claim(claims, "a")
    claim(claims, "b", seconds=0.001)
    await_true(lambda: claims.at(b"b", None, 10) == [])
    claim(claims, "b"), claim(claims, "c", who="agent:b")
    with pytest.raises(LimitReached, match=r"agent:a has 2 .*max_claims_per_principal"):
        claim(claims, "d")
    with pytest.raises(LimitReached, match=r"3 .*\(max_claims\)"):
        claim(claims, "d", who="agent:b")
    claims.end(first.id)
    claim(claims, "d")


def test_what_becomes_of_a_claim_is_told_on_a_channel(claims: AdvisoryClaims) -> None:
    with claims._redis.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(claims.channel)
        assert channel.get_message(timeout=60) is None, "the answer to the subscription"
        made = claim(claims, "docs/", "/")
        renewed = claims.renew(made.id, 60)
        claims.end(made.id)
        over = claim(claims, "a", seconds=0.001)
        await_true(lambda: claims.end_expired() == 1)
        told = [ClaimEvent.parse(channel.get_message(timeout=60)["data"]) for _ in range(5)]
    assert renewed is not None
    assert told == [
        ("claimed", made),
        ("claimed", renewed),
        ("claim-ended", renewed),
        ("claimed", over),
        ("claim-ended", over),
    ]
    assert told[0].claim.paths == (b"docs/", b"/")


def test_an_index_without_its_claim_tells_nothing(claims: AdvisoryClaims) -> None:
    """As a Redis has it that was restored in the middle of something."""
    made = claim(claims, "docs/")
    claims._redis.delete(f"{claims._prefix}advisory_claim:{made.id}")
    assert claims.at(b"docs", None, 10) == claims.over([b"docs/x"], 10) == []
    assert not claims.end(made.id)
