"""Ids: a submission pack owns the consecutive ids from its first, and nobody else is ever given one of them."""

from __future__ import annotations

import time

import pytest

from storage.ids import changesets_of, consecutive, inbox_pack, is_ulid, new_ulid, ulid_seconds


def test_packs_that_begin_in_one_millisecond_share_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    packs = [inbox_pack(new_ulid(), 1000) for _ in range(200)]
    ids = [each for pack in packs for each in changesets_of(pack)]
    assert len(set(ids)) == len(ids) == 200_000


def test_counting_on_from_an_id_never_reaches_its_time() -> None:
    for _ in range(100):
        first = new_ulid()
        ids = consecutive(first, 3000)
        assert all(is_ulid(each) for each in (ids[0], ids[-1])) and ids == sorted(ids)
        assert ulid_seconds(ids[-1]) == ulid_seconds(first)
