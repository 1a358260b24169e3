"""What a body has in it is counted before anything is made of it."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol import scan as module
from app.protocol.bodies import load_json
from app.protocol.changesets.schemas import load_bulk
from app.protocol.problems import Problem
from app.protocol.scan import MAX_DEPTH, TooLarge, TooMany, scan
from storage.base.settings import Settings

TEXTS = st.text(alphabet='ab"\\{}[],:ü\n', max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=40,
)


def signs(value: Any) -> int:
    """Count what `scan` counts: strings, opening brackets, commas and colons."""
    if isinstance(value, dict):
        return 1 + max(0, len(value) - 1) + sum(2 + signs(each) for each in value.values())
    if isinstance(value, list):
        return 1 + max(0, len(value) - 1) + sum(signs(each) for each in value)
    return int(isinstance(value, str))


@given(VALUES, st.sampled_from([2, 3, 7, 64, 1 << 18]), st.booleans())
def test_every_value_of_a_body_is_counted_and_nothing_inside_of_a_string(value: Any, window: int, plain: bool) -> None:
    body = json.dumps(value, ensure_ascii=not plain).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WINDOW", window)
        scan(body, signs(value))
        if signs(value):
            with pytest.raises(TooMany):
                scan(body, signs(value) - 1)


@given(st.binary(max_size=300), st.sampled_from([2, 5, 1 << 18]))
def test_what_is_no_json_is_looked_at_without_an_error_of_another_kind(body: bytes, window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WINDOW", window)
        with contextlib.suppress(TooMany, TooLarge):
            scan(body, 10)


@pytest.mark.parametrize("more", [0, 1, 2, 3])
def test_a_run_of_backslashes_is_looked_at_window_by_window(more: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WINDOW", 1000)
    windows: list[int] = []
    find_end = module._window_end
    monkeypatch.setattr(
        module, "_window_end", lambda body, at: windows.append(find_end(body, at) - at) or at + windows[-1]
    )
    value = ["\\" * (5000 + more), {"a": '"' * more}]
    scan(json.dumps(value).encode(), signs(value))
    assert max(windows) <= 1001
    with pytest.raises(TooMany):
        scan(json.dumps(value).encode(), signs(value) - 1)


def test_nesting_and_numbers_are_bounded() -> None:
    scan(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, 10_000)
    scan(b"[[]," * 90 + b"1" + b"]" * 90, 10_000)
    for body in (b"[" * (MAX_DEPTH + 1), b'{"a":' * (MAX_DEPTH + 1), b"[]" * 400 + b"[" * 101, b"[" + b"1" * 1001):
        with pytest.raises(TooLarge):
            scan(body, 10_000)


@pytest.mark.parametrize(
    "body",
    [
        b'{"changesets":[' + b"{}," * 3_000_000 + b"{}]}",
        b'{"changesets":[' + b"[]," * 3_000_000 + b"{}]}",
        b'{"changesets":[' + b"1," * 3_000_000 + b"1]}",
        b'{"changes":[' + b'"",' * 3_000_000 + b'""]}',
        b"{" + b'"a":1,' * 2_000_000 + b'"b":1}',
        b'""' * 3_000_000,
    ],
)
def test_a_body_with_too_many_values_is_refused_before_one_is_made(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "loads", None)
    with pytest.raises(Problem) as raised:
        load_json(body, Settings())
    assert raised.value.status == 422 and raised.value.errors[0]["field"] == "body"


def test_all_changes_of_a_request_together_are_bounded_by_name() -> None:
    change = {"op": "delete", "path": "a"}
    items = [{"slice": "s", "message": "m", "changes": [change] * 6}] * 2
    with pytest.raises(Problem) as raised:
        load_bulk({"changesets": items}, Settings(max_request_changes=11))
    assert raised.value.status == 422 and "max_request_changes" in raised.value.detail
    assert len(load_bulk({"changesets": items}, Settings(max_request_changes=12))) == 2


def test_the_largest_valid_request_has_an_allowed_number_of_values() -> None:
    few = Settings(max_request_changes=20, max_bulk_changesets=2, max_strategies=2, max_slice_paths=1)
    change = dict.fromkeys(("op", "path", "mode", "content", "content_base64", "id", "base", "strategy"), "x")
    rules = [{"pattern": "p", "strategy": "ours"}] * 2
    item = {"slice": "s", "base": 1, "author": {"name": "n", "email": "e"}, "time": "t", "message": "m", "hold": True}
    items = [{**item, "idempotency_key": "k", "strategies": rules, "changes": [change] * 10}] * 2
    load_json(json.dumps({"changesets": items}).encode(), few)


@pytest.mark.long
def test_the_errors_of_a_wrong_request_are_bounded_in_number_and_size() -> None:
    many = {f"unknown-{i}": 1 for i in range(100_000)}
    wrong = [{"op": "x" * 100, **many}] + [{"op": "nothing", "path": "/" * 4000}] * 100
    items = [{"slice": "s", "message": "m", "changes": wrong} for _ in range(400)]
    answers = load_bulk({"changesets": items}, Settings())
    assert all(isinstance(each, Problem) for each in answers)
    assert len(json.dumps([each.to_json() for each in answers if isinstance(each, Problem)])) < 1 << 20
