"""Restoring a backup into an empty bucket.

Every file is checked against the manifest before anything is written. Packs are written before entries, and these in
order, so an interrupted restore leaves no entry that names a missing object. `restored/<manifest>.json` is created
before all others: a restore only continues in a bucket that has it, and while all entries there are the backup's.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from app.admin.backup import LOG, MARKERS, PROBES, BackupError, Folder, Manifest
from storage.backends.bucket import READERS, Bucket
from storage.base.errors import Corrupt
from storage.base.progress import Progress, batched_with_progress, no_progress
from storage.log.entry import Access, Mirrors, Webhooks, decode, digest
from storage.log.log import name_of
from storage.log.records import Actor
from storage.maintenance.rebuild import rebuild
from storage.mirrors.records import Stopped
from storage.operations.access import replace_policy, revoke
from storage.operations.git.mirrors import stop_all
from storage.operations.webhooks import disable_all
from storage.repository import Repository
from storage.view.access import read_policy
from storage.view.mirrors import read_mirrors
from storage.view.webhooks import count_webhooks
from storage.webhooks.records import Disabled

_AT_ONCE = 64
# By whom the log says that tokens were revoked, webhooks disabled and mirrors stopped.
_PRINCIPAL = "sluice:restore"


class Damaged(Corrupt):
    """Files of the backup are missing, or are not what the manifest says."""

    def __init__(self, wrong: Sequence[str]) -> None:
        super().__init__(f"{len(wrong)} files of the backup are damaged or missing; nothing was restored")
        self.wrong = wrong


class NotEmpty(BackupError):
    """The bucket contains objects that a restore of this backup has not written."""


@dataclass(slots=True)
class Restored:
    """What was restored."""

    entries: int = 0
    files: int = 0
    bytes: int = 0
    copied: int = 0  # by this run
    applied: int = 0  # the last entry of the view
    enqueued: int = 0  # changesets without an outcome, queued again
    revoked: int = 0  # tokens
    disabled: int = 0  # webhooks
    stopped: int = 0  # mirrors


def check(folder: Folder, manifest: Manifest, progress: Progress) -> None:
    """Check every file of a backup. Raises Damaged."""

    def wrong(name: str) -> str | None:
        try:
            data = folder.read(name)
        except OSError:
            return f"{name} is missing"
        expected = manifest.files[name]
        return None if (len(data), digest(data)) == expected else f"{name} is not what the manifest says"

    needed = [name_of(seq) for seq in range(1, manifest.entries + 1)]
    faults = [f"{name} is not in the manifest" for name in needed if name not in manifest.files]
    with ThreadPoolExecutor(READERS) as pool:
        for chunk in batched_with_progress(sorted(manifest.files), _AT_ONCE, "check", progress):
            faults += [fault for fault in pool.map(wrong, chunk) if fault]
    if faults:
        raise Damaged(faults)


def restore(repo: Repository, directory: Path, progress: Progress = no_progress, keep_tokens: bool = False) -> Restored:
    """Put the backup in `directory` into the repository's bucket, and load the view from it.

    All its tokens are revoked, and the policy's identities taken out, unless `keep_tokens`: some may have been ended
    since the backup was made. So are its webhooks disabled and its mirrors stopped: the deployment that the backup is
    of may call them as well, under the same ids, and push what has landed there since.

    What Redis knows of a repository of this name is forgotten, since it is of another bucket. Nothing else may use the
    repository meanwhile. Raises Refused, Corrupt and Unavailable.
    """
    folder = Folder(directory)
    if (known := folder.manifest()) is None:
        raise BackupError(f"{directory} has no backup in it, or one that was never finished")
    manifest, name = known
    check(folder, manifest, progress)
    repo.check()
    put = _Put(repo.bucket, folder, manifest, progress)
    put.run(f"{MARKERS}{name}.json")
    repo.view.erase()  # what Redis has is of the bucket that was here before
    _, recovered = rebuild(repo, None, lambda seq: progress("view", seq, manifest.entries))
    revoked = 0 if keep_tokens else _revoke_all(repo)
    if not keep_tokens:
        _forget_identities(repo)
    disabled = 0 if keep_tokens else _disable_all(repo)
    stopped = 0 if keep_tokens else _stop_all(repo)
    applied = repo.view.head().applied
    return Restored(
        manifest.entries, len(manifest.files), manifest.size, put.copied, applied, recovered.enqueued, revoked,
        disabled, stopped,
    )  # fmt: skip


def _revoke_all(repo: Repository) -> int:
    """Revoke all tokens, and return how many. Raises Unavailable."""
    count = 0
    while ids := repo.view.token_ids("", _AT_ONCE):
        revoked = len(revoke(repo, ids, Actor(principal=_PRINCIPAL)))
        if not revoked:
            raise Corrupt(f"the view names tokens that it does not have, such as {ids[0]}")
        count += revoked
    return count


def _forget_identities(repo: Repository) -> None:
    """Let no JSON Web Token stand for anybody. Raises Unavailable."""
    policy = read_policy(repo.view)
    if policy.identities:
        replace_policy(repo, structs.replace(policy, identities=()), policy.version, Actor(principal=_PRINCIPAL))


def _disable_all(repo: Repository) -> int:
    """Disable all webhooks, and return how many. Raises Unavailable."""
    return disable_all(repo, Disabled.RESTORED, Actor(principal=_PRINCIPAL)) if count_webhooks(repo.view) else 0


def _stop_all(repo: Repository) -> int:
    """Stop all mirrors, and return how many. Raises Unavailable."""
    return stop_all(repo, Stopped.RESTORED, Actor(principal=_PRINCIPAL)) if read_mirrors(repo.view) else 0


def _is_own(data: bytes) -> bool:
    """Tell whether an entry is one by which a restore ends or stops what the backup has."""
    entry = decode(data)
    of = entry.actor if isinstance(entry, Access | Webhooks | Mirrors) else None
    return of is not None and of.principal == _PRINCIPAL


class _Put:
    """Writes the files of a backup to a bucket."""

    def __init__(self, bucket: Bucket, folder: Folder, manifest: Manifest, progress: Progress) -> None:
        self._bucket = bucket
        self._folder = folder
        self._manifest = manifest
        self._progress = progress
        self.copied = 0

    def run(self, marker: str) -> None:
        """Write what is not there yet. Raises NotEmpty and BackupError."""
        present = {name for name in self._bucket.list_keys("") if not name.startswith(PROBES)}
        if present and marker not in present:
            shown = ", ".join(sorted(present)[:3])
            raise NotEmpty(f"the bucket has {len(present)} objects of this repository already: {shown}")
        begun = self._begun(present)
        self._bucket.create(marker, json.dumps({"entries": self._manifest.entries}).encode())
        self._put_packs([n for n in sorted(self._manifest.files) if n not in present and not n.startswith(LOG)])
        for seq in range(begun + 1, self._manifest.entries + 1):
            self._put(name_of(seq))
            self._progress("log", seq, self._manifest.entries)

    def _begun(self, present: set[str]) -> int:
        """Return how many entries a restore that died has written. Raises NotEmpty where others are there."""
        count = len([name for name in present if name.startswith(LOG)])
        # Those that revoke tokens and the like are its own, by a run that did not come to its end.
        while count > self._manifest.entries and _is_own(self._bucket.get(name_of(count))):
            count -= 1
        if count > self._manifest.entries:
            raise NotEmpty(f"the bucket has {count} entries, the backup {self._manifest.entries}: it is in use since")
        if count and self._bucket.get(name_of(count)) != self._read(name_of(count)):
            raise NotEmpty(f"entry {count} in the bucket is not the backup's: somebody else has written to it")
        return count

    def _put_packs(self, names: Sequence[str]) -> None:
        for chunk in batched_with_progress(names, _AT_ONCE, "copy", self._progress):
            self._bucket.map_concurrently(self._put, chunk)

    def _put(self, name: str) -> None:
        data = self._read(name)
        # A PUT whose answer was lost has stored it.
        if not self._bucket.create(name, data).stored and self._bucket.get(name) != data:
            raise NotEmpty(f"{name} in the bucket is not the backup's: somebody else has written to it")
        self.copied += 1

    def _read(self, name: str) -> bytes:
        data = self._folder.read(name)
        if digest(data) != self._manifest.files[name].sha256:
            raise Damaged([f"{name} has changed since it was checked"])
        return data
