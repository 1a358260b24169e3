"""What a request may cost, whatever stands in the repository: pages end, and others are served in between."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from app.routes import explanations
from storage import explain
from storage.settings import Settings
from tests.app.collisions import collide, put
from tests.app.http import Api, Json


def pages(api: Api, at: str, **query: Any) -> list[list[Json]]:
    """Return the items of every page of a list."""
    found, cursor = [], None
    while True:
        page = api.get(at, **query, **({"cursor": cursor} if cursor else {}))
        found.append(page["items"])
        cursor = page["next"]
        if cursor is None:
            return found


def everywhere(api: Api, paths: list[str], lines: int = 1, every: int = 1) -> str:
    """Have a changeset conflict on all of `paths`, on each in every so many lines; return its id."""

    def texts(side: str) -> list[Json]:
        text = "".join(f"{side} {i}\n" + "same\n" * (every - 1) for i in range(0, lines, every))
        return [put(path, f"{path[-1]}\n{text}") for path in paths]

    return collide(api, texts("base"), texts("head"), texts("late"))


def test_a_page_of_conflicts_ends_with_its_room_and_nothing_more_is_explained(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(replace(settings, max_shown_bytes=3000))
    made = everywhere(api, [f"f{i}" for i in range(5)], lines=150)
    explained, real = [], explain._explanation
    monkeypatch.setattr(explain, "_explanation", lambda *args: explained.append(0) or real(*args))
    found = pages(api, f"/changesets/{made}/conflicts")
    assert [[each["path"] for each in page] for page in found] == [["f0", "f1"], ["f2", "f3"], ["f4"]], (
        "4 KB of text with markers and more in hunks, of 12 KB for a page"
    )
    assert all(len(each["hunks"]) == 1 and each["marked"] for page in found for each in page)
    assert len(explained) == 5


def test_a_page_of_conflicts_ends_with_its_time_and_lets_others_run(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = everywhere(api, ["a", "b", "c"])
    ticks, naps = iter(range(0, 1000, 4)), []
    clock = SimpleNamespace(monotonic=lambda: next(ticks), sleep=naps.append)
    monkeypatch.setattr(explanations, "time", clock)
    assert [len(page) for page in pages(api, f"/changesets/{made}/conflicts")] == [3], "in less than ten seconds"
    assert naps == [0, 0, 0]
    ticks = iter(range(0, 1000, 6))
    assert [len(page) for page in pages(api, f"/changesets/{made}/conflicts")] == [2, 1]
    ticks = iter(range(0, 1000, 60))
    assert [len(page) for page in pages(api, f"/changesets/{made}/conflicts")] == [1, 1, 1]


def test_texts_are_read_in_groups_bounded_by_bytes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = everywhere(api, ["a", "b", "c", "d", "e"], lines=10)  # 70 bytes a text
    whole = api.get(f"/changesets/{made}/conflicts")["items"]
    runs = []
    together = explain.Explainer.together
    monkeypatch.setattr(explain.Explainer, "together", lambda self, w: runs.append(len(w)) or together(self, w))
    for room, expected in ((1 << 20, [5]), (500, [2, 2, 1]), (1, [1, 1, 1, 1, 1])):
        monkeypatch.setattr(explanations, "_TOGETHER_BYTES", room)
        runs.clear()
        assert api.get(f"/changesets/{made}/conflicts")["items"] == whole
        assert runs == expected
    assert [each["path"] for each in api.get(f"/changesets/{made}/diff")["items"]] == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("lines", "every", "hunks"),
    [(4000, 4, 1000), (4004, 4, None), (49_999, 49_999, 1), (50_000, 50_000, None)],
)
def test_of_very_many_hunks_or_lines_there_is_the_marked_text_alone(
    api: Api, lines: int, every: int, hunks: int | None
) -> None:
    made = everywhere(api, ["f"], lines, every)
    [shown] = api.get(f"/changesets/{made}/conflicts")["items"]
    assert (shown["hunks"] and len(shown["hunks"])) == hunks
    assert shown["marked"].count(">>>>>>> submitted\n") == -(-lines // every)


def test_pages_of_paths_of_control_characters_go_on(api: Api) -> None:
    deep = "/".join(["\x01" * 250] * 16)
    made = everywhere(api, [f"{deep}/{i}" for i in range(3)])
    for what in ("diff", "conflicts"):
        found = pages(api, f"/changesets/{made}/{what}", limit=1)
        assert [[each["path"][-1] for each in page] for page in found] == [["0"], ["1"], ["2"]]
