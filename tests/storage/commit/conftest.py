"""What the tests of commits share."""

from __future__ import annotations

import pytest

from storage.backends.bucket import Bucket, Created


@pytest.fixture
def puts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders of the objects that are created from now on, in order."""
    made: list[str] = []
    create = Bucket.create

    def noted(bucket: Bucket, name: str, data: bytes) -> Created:
        made.append(name.split("/")[0])
        return create(bucket, name, data)

    monkeypatch.setattr(Bucket, "create", noted)
    return made
