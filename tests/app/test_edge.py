"""What the API does where its input, or what is stored already, is at the edge of what can be."""

from __future__ import annotations

import pytest

from tests.app.http import Api, walk

pytestmark = pytest.mark.usefixtures("unsent")


def test_a_tree_goes_on_behind_a_path_of_control_characters(api: Api) -> None:
    path = "/".join(["\x01" * 255] * 6)
    api.put(path, "1")
    api.put("z", "1")
    api.world.work()
    assert [each["path"] for each in walk(api, "/slices/all/tree")] == [path, "z"]
