"""What entries of every format say that was done, and by whom."""

from __future__ import annotations

from storage.base.ids import ulid_seconds
from storage.log.audit import ACTIONS, Act, acts_of
from storage.log.entry import Entry
from storage.log.log import follow
from tests.support.persisted import access, entries, imported, mirrors, published, tags, ulid, webhooks, with_actors


def log() -> list[Entry]:
    return [entry for entry, _ in follow(iter([*entries(), published(), access(), *with_actors()]))]


def told(first: int, last: int) -> list[Act]:
    return [act for entry in log()[first - 1 : last] for act in acts_of(entry)]


def test_a_log_of_formats_1_and_2_tells_what_was_done_and_when_by_nobody() -> None:
    acts = told(1, 12)
    assert {act.actor for act in acts} == {None}
    assert [act.action for act in told(1, 4)] == [
        "repository.create", "slice.create",
        "changeset.submit", "changeset.commit", "changeset.submit", "changeset.commit",
        "changeset.submit", "changeset.conflict", "changeset.submit", "changeset.reject", "changeset.land",
    ]  # fmt: skip
    assert [act.action for act in told(7, 10)] == ["changeset.close", "slice.change", "pack.condemn", "history.compact"]
    assert {act.time for act in acts} == {ulid_seconds(ulid("A0"))}, "that of the ids of writers and changesets"


def test_an_entry_that_brings_its_global_commit_tells_the_landing_too() -> None:
    *_, landed = told(12, 12)
    assert (landed.action, landed.commit, landed.changesets) == ("changeset.land", "9" * 40, 1)


def test_an_entry_of_format_3_tells_who_made_and_revoked_tokens_and_set_the_policy() -> None:
    acts = told(13, 13)
    assert [act.action for act in acts] == ["token.create", "token.revoke", "policy.replace"]
    assert {act.actor.principal if act.actor else None for act in acts} == {"user:ada"}
    assert (acts[0].subject_token, acts[0].principal, acts[0].token_hash) == (ulid("H2"), "agent:a", "ab" * 32)


def test_entries_of_format_4_tell_who_asked_beside_who_submitted() -> None:
    acts = told(14, 18)
    assert [(act.action, act.actor.principal if act.actor else None) for act in acts] == [
        ("slice.create", "user:ada"), ("changeset.submit", "agent:a"), ("changeset.abandon", "user:ada"),
        ("changeset.release", "user:ada"), ("changeset.close", "user:ada"), ("merge.request", "user:ada"),
    ]  # fmt: skip
    assert acts[2].submitter == "agent:a" and acts[0].time == 1700000200
    assert [(act.seq, act.index) for act in acts] == [(14, 0), (15, 0), (15, 1), (16, 0), (17, 0), (18, 0)]


def test_a_successor_closes_the_conflict_that_it_resolves() -> None:
    closed = [act for act in told(6, 6) if act.action == "changeset.close"]
    assert [(act.changeset, act.closed_by) for act in closed] == [(ulid("AX"), ulid("C2"))]


def of_webhooks() -> list[Act]:
    [*_, (entry, _)] = follow(iter([*entries(), published(), access(), webhooks()]))
    return list(acts_of(entry))


def test_a_webhook_is_told_of_by_its_id_and_owner_and_never_by_its_url() -> None:
    acts = of_webhooks()
    assert [(act.action, act.webhook) for act in acts] == [
        ("webhook.create", ulid("W1")), ("webhook.change", ulid("W2")), ("webhook.delete", ulid("W3")),
    ]  # fmt: skip
    assert (acts[1].version, acts[1].reason) == (2, "gone")
    assert not any("https:" in str(act) for act in acts)


def test_every_action_is_in_the_list() -> None:
    of_git = follow(iter([*entries(), published(), access(), webhooks(), tags(), imported()]))
    of_mirrors = follow(iter([*entries(), published(), access(), webhooks(), mirrors()]))
    acts = [*told(1, 18), *of_webhooks(), *(act for entry, _ in (*of_git, *of_mirrors) for act in acts_of(entry))]
    assert {act.action for act in acts} | {"slice.delete", "mirror.resume"} == set(ACTIONS)
