"""What the API does where its input, or what is stored already, is at the edge of what can be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.objects import Ident
from tests.app.http import Api, walk
from tests.support import item

pytestmark = pytest.mark.usefixtures("unsent")


def test_a_tree_goes_on_behind_a_path_of_control_characters(api: Api) -> None:
    path = "/".join(["\x01" * 255] * 6)
    api.put(path, "1")
    api.put("z", "1")
    api.world.work()
    assert [each["path"] for each in walk(api, "/slices/all/tree")] == [path, "z"]


@pytest.mark.parametrize(
    ("time", "zone", "shown"),
    [
        (253402304399, -60, "9999-12-31T23:59:59-01:00"),
        (253402300799, 60, "9999-12-31T23:59:59+01:00"),
        (0, -60, "1969-12-31T23:00:00-01:00"),
        (1 << 62, 0, "9999-12-31T23:59:59+00:00"),
        (0, 5999, "1970-01-01T00:00:00+00:00"),
    ],
)
def test_a_commit_of_a_time_without_a_date_is_listed_all_the_same(api: Api, time: int, zone: int, shown: str) -> None:
    made = replace(item(api.world.all, {"f": b"1"}, api.world.tip), author=Ident("Ada", "ada@example.org", time, zone))
    api.world.submit(made)
    api.world.work()
    [listed] = api.get("/slices/all/commits")["items"]
    assert listed["time"] == shown
