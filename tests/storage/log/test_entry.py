"""Entries of every format that was ever written are read for ever, and mean what they meant."""

from __future__ import annotations

import json

import pytest
from msgspec import UNSET

from storage.base.ids import ObjectId, PackId
from storage.git.packs import PackRange
from storage.log.audit import acts_of
from storage.log.entry import NO_HASH, Close, CorruptEntry, Release, Slices, digest, encode, encode_record, log_position
from storage.log.log import follow
from storage.log.references import References
from storage.view.load import locations
from storage.view.rows import Effects, Forgotten, effects
from tests.support.persisted import (
    ENTRIES,
    access,
    entries,
    identities,
    imported,
    mirrors,
    moves,
    published,
    pushed,
    quotas,
    tags,
    ulid,
    webhooks,
    with_actors,
)  # fmt: skip

# The hash of the last, each time that some were added: whoever changes the bytes of an old entry changes these.
HASHES = {
    4: "7f837293b80800f4abd0a8ced8410b918590977b8ca498594d1188e2ab4beacf",
    8: "4840dc95913b988794489630d642382591c20deca34a4c14fbecbeb29d833897",
    10: "3e6f4c34f7233d54e0fe031aaed3443a514bcc669d645d183c015a31b4890e6c",
    11: "418121fb287708527965e105cd2eba1fb13cc66ee3675ce8c905aaa45dfe6da5",
}


def rows() -> list[Effects]:
    return [effects(entry, entry_hash) for entry, entry_hash in follow(iter(entries()), NO_HASH)]


def test_entries_of_format_1_are_read_and_chained() -> None:
    followed = list(follow(iter(entries())))
    assert [entry.kind for entry, _ in followed] == [name.partition("-")[0] for name in ENTRIES]
    assert {seq: followed[seq - 1][1] for seq in HASHES} == HASHES


def test_an_entry_of_format_2_has_its_global_commit() -> None:
    [*_, (entry, entry_hash)] = follow(iter([*entries(), published()]))
    assert (entry.format, encode(entry)) == (2, published()[1])
    assert entry_hash == "836f7b198d936d0c747a7f358538b20b705cb5bdfde1f8f873b33e0d85b9c66d"
    made, rows = entry.global_commit, effects(entry, entry_hash)
    assert made and made.parents == ("2" * 40, entry.tip) and made.tree == entry.root
    assert (made.first, made.through, made.changesets) == (12, 12, 1)
    assert rows.sorted_sets["merges"] == {encode_record(made): 12} and rows.hashes["merge_seqs"] == {"9" * 40: 12}
    named = {"main": "9" * 40, "main_tree": entry.root, "main_time": 1700000010, "main_seq": 12, "through": 12}
    assert rows.head.items() >= (named | {"merged": rows.head["committed"], "tip": entry.tip}).items()


def test_an_entry_of_format_3_has_tokens_and_the_policy() -> None:
    [*_, (entry, entry_hash)] = follow(iter([*entries(), published(), access()]))
    assert (entry.format, encode(entry)) == (3, access()[1])
    assert entry_hash == "59ae653b74fe2af5f5a3ac58e3ac8636cdeb9016d5f3c7aeffdaa8b7faa56945"
    made = effects(entry, entry_hash)
    assert made.head["access"] == 13 and made.head["policy"] == 2
    assert list(made.hashes["tokens"]) == ["ab" * 32] and made.hashes["token_hashes"] == {ulid("H2"): "ab" * 32}
    assert made.removed_fields == {"tokens": ["cd" * 32], "token_hashes": [ulid("H3")]}
    assert made.sorted_sets["token_order"] == {ulid("H2"): 0}
    assert made.removed_members == {"token_order": [ulid("H3")]}
    assert json.loads(made.strings["policy"])["version"] == 2


def test_an_entry_of_format_4_has_a_policy_with_quotas() -> None:
    [*_, (entry, entry_hash)] = follow(iter([*entries(), published(), access(), quotas()]))
    assert (entry.format, encode(entry)) == (4, quotas()[1])
    assert entry_hash == "45f28f1d2aeaa920d898f6f58c7453011f73e44fc61a9dd1485f6bc6021afea7"
    policy = json.loads(effects(entry, entry_hash).strings["policy"])
    assert policy["quotas"]["agent:a"] == {"queued": 100, "requests_per_second": 0.5}
    assert policy["quotas"]["group:web"] == {"bodies_bytes": 1 << 20, "queued": 0}


def test_entries_of_format_4_name_who_had_them_made() -> None:
    stored = [*entries(), published(), access(), *with_actors()]
    made = list(follow(iter(stored)))[-len(with_actors()) :]
    assert [(entry.format, encode(entry)) for entry, _ in made] == [(4, data) for _, data in with_actors()]
    assert made[-1][1] == "5b90466a356108a636657a267756ea9b30d8f4d510ee6fbab5502e6b4b35aea5"
    assert effects(*made[-1]).head.keys() == {"applied", "hash"}


def test_a_policy_with_identities_is_of_format_4() -> None:
    stored = [*entries(), published(), access(), *with_actors(), identities()]
    [*_, (entry, entry_hash)] = follow(iter(stored))
    assert (entry.format, encode(entry)) == (4, identities()[1])
    assert entry_hash == "f48beea16f4efdb90c2d2ac52a6446d73b43188ccbf501e2c1c3bec1130ad8b5"
    made = json.loads(effects(entry, entry_hash).strings["policy"])
    assert made["identities"][0]["claims"] == {"repository_id": "74"}


def test_an_entry_of_format_5_has_mirrors() -> None:
    [*_, (entry, entry_hash)] = follow(iter([*entries(), published(), access(), webhooks(), mirrors()]))
    assert (entry.format, encode(entry)) == (5, mirrors()[1])
    assert entry_hash == "c55da7a32cb6d5bb5c4135b7471c056b581004cba96af6a0f8bccfb2c331e09e"
    made = effects(entry, entry_hash)
    assert list(made.hashes["mirrors"]) == ["host", "source", "old"] and made.removed_fields == {"mirrors": ["gone"]}
    source, old = (json.loads(str(made.hashes["mirrors"][name])) for name in ("source", "old"))
    assert (source["direction"], source["slice"], source["start"]) == ("in", ulid("A3"), "1" * 40)
    assert (old["stopped"], old["since"]) == ("diverged", 1700000050) and "direction" not in old
    acts = [(act.action, act.name, act.reason) for act in acts_of(entry)]
    assert acts == [
        ("mirror.create", "host", None),
        ("mirror.create", "source", None),
        ("mirror.stop", "old", "diverged"),
        ("mirror.delete", "gone", None),
    ]


def test_an_entry_without_an_actor_has_the_format_that_it_had() -> None:
    assert Release(released=()).least_format == Close(closed=()).least_format == Slices(define=()).least_format == 1


def test_an_entry_of_format_4_has_webhooks_and_how_far_they_have_come() -> None:
    [*_, (entry, entry_hash)] = follow(iter([*entries(), published(), access(), webhooks()]))
    assert (entry.format, encode(entry)) == (4, webhooks()[1])
    assert entry_hash == "e6ba6e861eaceb0cabedf40d2a9dbf7c6bbdaf168700fd00922269087a22923c"
    made = effects(entry, entry_hash)
    assert list(made.hashes["webhooks"]) == [ulid("W1"), ulid("W2")]
    assert made.hashes["webhook_cursors"] == {ulid("W1"): "15 0", ulid("W2"): "12 1"}
    assert made.sorted_sets["webhook_order"] == {ulid("W1"): 0}
    assert made.removed_fields == {"webhooks": [ulid("W3")], "webhook_cursors": [ulid("W3")]}
    assert made.removed_members == {"webhook_order": [ulid("W3")]}
    changed = json.loads(str(made.hashes["webhooks"][ulid("W2")]))
    assert (changed["rotation"], changed["disabled"], changed["url"]) == (2, "gone", "https://b.example/")


def test_an_entry_of_format_5_has_tags() -> None:
    [*_, (entry, entry_hash)] = follow(iter([*entries(), published(), access(), webhooks(), tags()]))
    assert (entry.format, encode(entry)) == (5, tags()[1])
    assert entry_hash == "fa417dacf948bddd984431a574b0982f9d72072d03ff4f12d93739bd9e6d460b"
    made = effects(entry, entry_hash)
    assert made.hashes == {"tags": {"v1.0": "a" * 40, "team/ü": "1" * 40}}
    assert made.removed_fields == {"tags": ["old"]} and made.removed_members == {"tag_order": ["old"]}
    pack = f"packs/{ulid('T0')}"
    assert made.sorted_sets == {"packs": {pack: 15}, "tag_order": {"v1.0": 0, "team/ü": 0}}
    acts = [(act.action, act.name, act.object, act.was) for act in acts_of(entry)]
    assert acts == [
        ("tag.create", "v1.0", "a" * 40, None),
        ("tag.move", "team/ü", "1" * 40, "2" * 40),
        ("tag.delete", "old", None, "3" * 40),
    ]
    assert {act.actor.principal for act in acts_of(entry) if act.actor} == {"user:ada"}


def test_an_entry_of_format_5_says_what_moved_and_what_followed() -> None:
    [*_, (entry, entry_hash)] = follow(iter([*entries(), published(), moves()]))
    assert (entry.format, entry.least_format, encode(entry)) == (5, 5, moves()[1])
    assert entry_hash == "348c4e5c726072993d45d7f36d6ef6dc517952bba43f4f55c9553b3064bf7056"
    made = effects(entry, entry_hash)
    first, second, third = entry.decided
    assert [change.is_move for change in first.changes] == [True, False, True, False]
    assert first.changes[0].range is None and first.changes[2].range == PackRange(12, 34, 56)
    assert list(first.blobs()) == ["a" * 40]
    assert made.sorted_sets["moved:a"] == {f"{log_position(13, 0)} {'b' * 40} b/ä": log_position(13, 0)}
    assert made.head["moved"] == log_position(13, 0)
    assert (second.followed[0].to, second.followed_count, second.touches("b/ä")) == ("b/ä", 1, True)
    assert json.loads(made.strings["outcome:" + second.id])["followed_count"] == 1
    assert third.conflicts[0].moved == "b/ä" and third.says_moves
    forgotten = effects(entry, entry_hash, Forgotten())
    assert forgotten == made


def test_an_entry_without_moves_has_the_format_that_it_had() -> None:
    for entry, _ in follow(iter([*entries(), published()])):
        assert entry.least_format < 5 and not any(record.says_moves for record in entry.decided)


def test_an_entry_of_format_5_has_an_import() -> None:
    before = [*entries(), published(), access(), webhooks(), tags()]
    [*_, (entry, entry_hash)] = follow(iter([*before, imported()]))
    assert (entry.format, encode(entry)) == (5, imported()[1])
    assert entry_hash == "523508b531fdf2fd1fbb0e03be89fd1d2b6e7cdecf4179946bb8a330b4c6eef0"
    made = effects(entry, entry_hash)
    assert made.head | {"applied": 0, "hash": ""} == {
        "applied": 0, "hash": "", "tip": "a" * 40, "tip_time": 1_600_000_000, "root": "b" * 40, "compacted": 16,
        "main": "a" * 40, "main_tree": "b" * 40, "main_time": 1_600_000_000, "main_seq": 16, "through": 16,
    }  # fmt: skip
    pack, table = f"packs/{ulid('T1')}", f"packs/{ulid('T2')}"
    assert made.hashes["tags"] == {"v1.0": "c" * 40} and made.hashes["tables"] == {table: "32 2 3"}
    assert made.sorted_sets["archives"] == {pack: 16} and not made.sorted_sets.get("packs")
    named = References()
    for each, _ in follow(iter([*before, imported()])):
        named.add(each)
    assert named.imported == {pack: 345} and table not in [own.name for own in named.own_tables]
    assert {pack + ".pack", pack + ".idx", table + ".table"} <= named.files()
    [act] = acts_of(entry)
    assert (act.action, act.commit, act.time) == ("repository.import", "a" * 40, 1_700_000_060)


def test_an_entry_of_format_5_has_the_commits_that_were_pushed() -> None:
    [*_, (entry, entry_hash)] = follow(iter([*entries(), published(), access(), pushed()]))
    assert (entry.format, encode(entry)) == (5, pushed()[1])
    assert entry_hash == "1db5644b34f219de313c8776b7d9d24c7d6705b10b2f0fc20905e00c5340ff8a"
    first, second = [record.pushed for record in entry.decided]
    assert first and second and (first.commit, second.commit) == ("1" * 40, "2" * 40)
    assert first.raw(first.message) == "Grüße\n\n\n".encode() and second.raw(second.message) == b"Gr\xfc\xdfe\n"
    made = effects(entry, entry_hash)
    assert made.firsts == {f"key:\x1fpush/{'1' * 40}": f"{ulid('L0')} p"}
    assert not [row for row in made.strings.values() if "pushed" in row]  # the view does not grow by what they say


def test_an_entry_is_the_same_bytes_when_it_is_written_again() -> None:
    assert [encode(entry) for entry, _ in follow(iter(entries()))] == [data for _, data in entries()]


def test_what_they_set_in_the_view() -> None:
    genesis, slices, commits, merge, *_ = rows()
    assert genesis.head["through"] == 1 and genesis.head["committed"] == 0
    assert slices.hashes["slice_ids"] == {"all": ulid("A3")}
    assert slices.sorted_sets["covers:/"] == {ulid("A3"): 0}
    first, second, third, fourth = (ulid("A" + last) for last in "VWXY")
    assert commits.sorted_sets["chain"] == {first: log_position(3, 0), second: log_position(3, 1)}
    assert commits.sorted_sets["decided:all:conflicted"] == {third: log_position(3, 2)}
    for key in ("open", "open:all", "open_on:f"):
        assert commits.sorted_sets[key] == {third: log_position(3, 2)}
    assert commits.sorted_sets["decided:gone:rejected"] == {fourth: log_position(3, 3)}
    assert commits.firsts["key:k"] == f"{first} f"
    assert commits.head["committed"] == 2 and merge.head["merged"] == 2 and merge.head["through"] == 3


def test_a_release_frees_held_changesets_and_their_outcomes_undo_that() -> None:
    release, commits = rows()[4:6]
    committed, abandoned, elsewhere = ulid("C0"), ulid("C1"), ulid("C9")
    assert release.sorted_sets == {"released": {committed: 5, elsewhere: 5}}
    assert release.head.keys() == {"applied", "hash"}
    assert commits.removed_members["released"] == [committed, abandoned]
    assert commits.sorted_sets["decided:all:abandoned"] == {abandoned: log_position(6, 1)}
    assert commits.firsts["key:l"] == f"{abandoned} g"


def test_a_commit_tells_of_merges_and_takes_the_place_of_a_conflict() -> None:
    commits = rows()[5]
    merged, resolves, conflicted = ulid("C0"), ulid("C2"), ulid("AX")
    outcome = json.loads(commits.strings["outcome:" + merged])
    assert outcome["merged_count"] == 1 and "merged" not in outcome
    assert json.loads(commits.strings["outcome:" + resolves])["resolves"] == conflicted
    assert commits.hashes["closed"] == {conflicted: resolves}
    for key in ("open", "open:all", "open_on:f"):
        assert commits.removed_members[key] == [conflicted]
    assert commits.sorted_sets["chain"] == {merged: log_position(6, 0), resolves: log_position(6, 2)}


def test_the_size_of_a_merged_file_is_known_from_the_entry_if_it_has_it() -> None:
    followed = [entry for entry, _ in follow(iter(entries()))]
    assert followed[5].decided[0].merged[0].size is UNSET, "as the first writers wrote it"
    [blob] = locations(followed[5], {}).values()
    assert blob.range == (100, 20, 9)
    pack, merged = PackId(f"packs/{ulid('F1')}"), ObjectId(bytes.fromhex("c" * 40))
    assert locations(followed[10], {pack: {merged: PackRange(1, 2, 0)}})[merged].range == (1, 2, 60)


def test_a_conflict_is_open_at_its_paths_until_it_is_closed() -> None:
    _, commits, close, _ = rows()[4:8]
    conflicted = ulid("C3")
    keys = {"open", "open:all", "open_on:f", "open_on:g/h"}
    assert {key for key in commits.sorted_sets if key.startswith("open")} == keys
    assert all(commits.sorted_sets[key] == {conflicted: log_position(6, 3)} for key in keys)
    assert close.removed_members == {key: [conflicted] for key in keys}
    assert close.hashes == {"closed": {conflicted: "abandoned"}}


def test_a_duplicate_names_the_first_and_leaves_it_the_key() -> None:
    commits = rows()[5]
    assert json.loads(commits.strings["outcome:" + ulid("C4")])["first"] == ulid("AV")
    assert "key:k" not in commits.firsts | commits.strings


def test_conflicts_are_of_two_versions_and_a_successor_closes_them() -> None:
    commits = rows()[10]
    conflicted, closed = ulid("F5"), ulid("C3")
    outcome = json.loads(commits.strings["outcome:" + conflicted])
    assert outcome["conflicts"][0]["base"] is None and outcome["conflicts"][0]["blocker"] == "d/e"
    assert outcome["conflicts"][1]["base"]["mode"] is None and "blocker" not in outcome["conflicts"][1]
    assert commits.sorted_sets["open"] == {conflicted: log_position(11, 3)}
    assert commits.hashes["closed"] == {closed: conflicted}
    stacked = json.loads(commits.strings["outcome:" + ulid("F3")])
    assert stacked["base"] == ulid("F2") and stacked["blind"] is True and "saw" not in stacked


def test_a_slice_that_changes_is_taken_back_and_made_again() -> None:
    slices, slice_id = rows()[7], ulid("A3")
    assert slices.removed_fields == {"slices": [slice_id], "slice_ids": ["all"]}
    removed = {"slice_order": [slice_id], "slice_names": ["all"], "covers:/": [slice_id]}
    assert slices.removed_members == removed
    assert json.loads(slices.hashes["slices"][slice_id])["version"] == 2
    assert slices.hashes["slice_ids"] == {"all": slice_id}
    assert slices.sorted_sets["covers:a/"] == slices.sorted_sets["covers:f"] == {slice_id: 0}


def test_a_compaction_names_its_files_and_moves_the_mark() -> None:
    compact = rows()[9]
    assert {name: compact.head[name] for name in ("archived", "keys_through", "mark", "compacted")} == {
        "archived": 4, "keys_through": 3, "mark": ulid("AY"), "compacted": 10,
    }  # fmt: skip
    made, merged, dropped = (f"packs/{ulid(last)}" for last in ("E1", "E2", "E3"))
    assert compact.hashes == {
        "tables": {made: "0 0 0", merged: "1 2 3"},
        "undecided": {ulid("AZ"): f"inbox/{ulid('AZ')}-1"},
    }
    assert compact.removed_fields == {"tables": [dropped]}
    assert compact.sorted_sets["archives"] == {f"packs/{ulid('E0')}": 10}
    assert compact.sorted_sets["retired"] == dict.fromkeys(
        [f"packs/{ulid('P0')}", f"inbox/{ulid('AV')}-4", dropped], 1700000100
    )
    assert compact.removed_members == {"retired": [f"packs/{ulid('D9')}"]}


def test_a_compaction_takes_back_what_grows_with_history_and_nothing_else() -> None:
    followed = list(follow(iter(entries()[:10])))
    made = [effects(*each) for each in followed]
    forgotten = Forgotten(history=followed[:8], keys=followed[:6], objects=b"x" * 40)
    taken = effects(*followed[9], forgotten)
    assert taken.unindexed == b"x" * 40
    assert set(taken.removed_strings) == {key for each in made for key in each.strings}
    assert taken.removed_firsts == {"key:k": f"{ulid('AV')} f", "key:l": f"{ulid('C1')} g"}
    for kind in ("chain", "decided:all:committed", "decided:all:conflicted", "batches", "merges", "packs"):
        assert set(taken.removed_members[kind]) == {
            member for each in made[:8] for member in each.sorted_sets.get(kind, ())
        }
    assert set(taken.removed_fields["closed"]) == {name for each in made for name in each.hashes.get("closed", ())}
    state = ("open", "slice", "covers", "released", "archives")
    assert not [key for key in [*taken.removed_members, *taken.removed_fields] if key.startswith(state)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b'"format":1', b'"format":99'),
        lambda data: data.replace(b'"seq":3', b'"seq":4'),
        lambda data: data[:-1],
        lambda data: b"[]",
        lambda data: data.replace(b'"committed":2', b'"committed":3'),
    ],
    ids=["another format", "another place", "cut short", "no object", "another content"],
)
def test_a_damaged_entry_is_never_followed(damage) -> None:
    stored = entries()
    stored[2] = (stored[2][0], damage(stored[2][1]))
    assert stored[2][1] != entries()[2][1]
    with pytest.raises(CorruptEntry):
        list(follow(iter(stored)))


def test_an_entrys_hash_is_that_of_its_bytes() -> None:
    assert digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
