"""Fingerprints: they distinguish a repeat from another request with the same idempotency key."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

from app.protocol.changesets.submissions import ItemBase, Submission
from storage.backends.turns import breathe, in_thread_if_large
from storage.git.threeway import Strategy
from storage.view.snapshot import Slice


class Fingerprints:
    """Those of one request's submissions, given with the slices that they name; made as they are asked for."""

    def __init__(self, submissions: Sequence[Submission | Exception], slices: Mapping[str, Slice]) -> None:
        self._submissions = submissions
        self._slices = slices
        self._made: dict[int, str] = {}  # by position

    def of(self, position: int) -> str:
        """Return a submission's fingerprint, with a base by position replaced by the fingerprint of that item.

        The number alone is not enough: with another item at that position, the request is another one.
        """
        chain = [position]  # each on the next one; in a loop, since it may be as long as the request
        while chain[-1] not in self._made:
            below = self._submissions[chain[-1]]
            if not isinstance(below, Submission) or not isinstance(below.base, ItemBase):
                break
            chain.append(below.base.position)
        for at in reversed(chain):
            submission = self._submissions[at]
            if at not in self._made and isinstance(submission, Submission):
                where = self._slices.get(submission.slice)
                base: object = submission.base
                if isinstance(base, ItemBase):
                    base = ("item", self._made.get(base.position))
                self._made[at] = _fingerprint(submission, base, where.id if where else submission.slice)
        return self._made[position]


def _fingerprint(submission: Submission, base: object, slice_id: str) -> str:
    if submission.pushed:
        # A commit is what its id says, whoever pushes it, with whatever options.
        return sha256(f"push {submission.pushed.commit}".encode()).hexdigest()[:32]
    hasher = sha256()
    identity = (slice_id, base, submission.author_name, submission.author_email, submission.author_time)
    hasher.update(repr((*identity, submission.author_zone, submission.message)).encode())
    for change in submission.changes:
        breathe()
        content = in_thread_if_large(_sha256, change.content) if change.content is not None else None
        hasher.update(repr((change.op, change.path, change.mode, content, change.oid, change.base)).encode())
        if change.source is not None:
            hasher.update(b"from" + repr(change.source).encode())
        if change.strategy != Strategy.MERGE:
            hasher.update(change.strategy.encode())
    if submission.hold:
        hasher.update(b"hold")
    if submission.priority:
        hasher.update(b"priority %d" % submission.priority)
    if submission.labels:
        hasher.update(b"labels" + repr(submission.labels).encode())
    return hasher.hexdigest()[:32]


def _sha256(content: bytes) -> bytes:
    return sha256(content).digest()
