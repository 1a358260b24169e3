"""Ids: a submission pack owns the consecutive ids from its first, and nobody else is ever given one of them."""

from __future__ import annotations

import time

import pytest
from ulid import ULID

from storage.base.ids import (
    bytes_of,
    changesets_of,
    consecutive,
    inbox_pack,
    is_ulid,
    new_ulid,
    submission_pack,
    text_of,
    ulid_seconds,
)


def test_packs_that_begin_in_one_millisecond_share_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    packs = [inbox_pack(new_ulid(), 1000) for _ in range(200)]
    ids = [each for pack in packs for each in changesets_of(pack)]
    assert len(set(ids)) == len(ids) == 200_000


@pytest.mark.parametrize("low", ["0000", "ZZZZ", "ZZZY", "ZZ00", "0ZZZ"])
def test_ids_that_follow_one_another_are_counted_as_numbers(low: str) -> None:
    first = "01ARZ3NDEKTSV4RRFFQ69G" + low
    expected = [str(ULID.from_int(int(ULID.from_str(first)) + i)) for i in range(3000)]
    assert consecutive(first, 3000) == expected
    assert [text_of(bytes_of(each)) for each in expected[:50]] == expected[:50]
    assert [bytes_of(each) for each in expected[:50]] == [ULID.from_str(each).bytes for each in expected[:50]]


def test_counting_on_from_an_id_never_reaches_its_time() -> None:
    for _ in range(100):
        first = new_ulid()
        ids = consecutive(first, 3000)
        assert all(is_ulid(each) for each in (ids[0], ids[-1])) and ids == sorted(ids)
        assert ulid_seconds(ids[-1]) == ulid_seconds(first)


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("inbox/01ARZ3NDEKTSV4RRFFQ69G5FAV-1.pack", True),
        ("inbox/01ARZ3NDEKTSV4RRFFQ69G5FAV-65535.pack", True),
        ("inbox/01ARZ3NDEKTSV4RRFFQ69G5FAV-65536.pack", False),
        ("inbox/01ARZ3NDEKTSV4RRFFQ69G5FAV-0.pack", False),
        ("inbox/01ARZ3NDEKTSV4RRFFQ69G5FAV-01.pack", False),
        ("inbox/01ARZ3NDEKTSV4RRFFQ69G5FAV.pack", False),
        ("inbox/01ARZ3NDEKTSV4RRFFQ69G5FAU-1.idx", False),
        ("inbox/01arz3ndektsv4rrffq69g5fav-1.pack", False),
        ("inbox/01ARZ3NDEKTSV4RRFFQ69G5FAV-1.pack.bak", False),
        ("inbox/01ARZ3NDEKTSV4RRFFQ69G5FAV-1.pack\n", False),
        ("inbox/01ARZ3NDEKZZZZZZZZZZZZZZZZ-2.pack", False),
        ("inbox/01ARZ3NDEKZZZZZZZZZZZYZZZZ-2.pack", True),
        ("inbox/", False),
        ("packs/01ARZ3NDEKTSV4RRFFQ69G5FAV-1.pack", False),
    ],
)
def test_a_submission_pack_is_told_by_its_whole_name(name: str, is_ours: bool) -> None:
    assert submission_pack(name) == (name.removesuffix(".pack") if is_ours else None)
