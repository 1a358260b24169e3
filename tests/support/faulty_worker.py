"""A worker with a fault that TEST_FAULT names: `celery -A tests.support.faulty_worker worker`, for real processes.

`slow:<seconds>` each pack of a batch takes so long to store; `die:<path>` the worker dies on a changeset of that path.
"""

from __future__ import annotations

import os
import time
from typing import Any

from storage.backends.bucket import Bucket, Created
from storage.commit import batch
from tasks.celery import app

__all__ = ["app"]

_create, _read = Bucket.create, batch.read_changesets
_kind, _, _value = os.environ["TEST_FAULT"].partition(":")


def _create_slowly(bucket: Bucket, name: str, data: bytes) -> Created:
    if name.startswith("packs/"):
        time.sleep(float(_value))
    return _create(bucket, name, data)


def _read_or_die(*args: Any) -> Any:
    changesets = _read(*args)
    if any(change.path == _value.encode() for changeset in changesets for change in changeset.changes):
        os._exit(70)
    return changesets


if _kind == "slow":
    Bucket.create = _create_slowly  # type: ignore[method-assign]
if _kind == "die":
    batch.read_changesets = _read_or_die
