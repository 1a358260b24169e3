"""A worker with a fault that TEST_FAULT names: `celery -A tests.support.faulty_worker worker`, for real processes.

`slow:<seconds>` each pack of a batch takes so long to store; `die:<path>` the worker dies on a changeset of that path;
`stall:<file>` the first process that is about to append an entry, with the append lock, makes that file and goes no
further.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
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


def _append_or_stall(bucket: Bucket, name: str, data: bytes) -> Created:
    if name.startswith("log/"):
        try:
            Path(_value).touch(exist_ok=False)
        except FileExistsError:
            return _create(bucket, name, data)
        while True:
            time.sleep(3600.0)
    return _create(bucket, name, data)


def _read_or_die(*args: Any) -> Any:
    changesets = _read(*args)
    if any(change.path == _value.encode() for changeset in changesets for change in changeset.changes):
        os._exit(70)
    return changesets


if _kind == "slow":
    Bucket.create = _create_slowly  # type: ignore[method-assign]
if _kind == "stall":
    Bucket.create = _append_or_stall  # type: ignore[method-assign]
if _kind == "die":
    batch.read_changesets = _read_or_die
