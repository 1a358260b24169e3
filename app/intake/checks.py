"""The checks of a submission, given what was looked up for its request: values in, refusals out."""

from collections.abc import Sequence

from app.access.caller import EVERYBODY, KEY_SEPARATOR, Caller
from app.intake.refusals import FieldRefused, KeyReused
from app.protocol.changesets.submissions import Change, ChangesetBase, Submission, field_of
from storage.access.policy import Right
from storage.backends.turns import breathe
from storage.base.errors import LimitReached, Recovering, Refused, SluiceError
from storage.base.ids import ChangesetId
from storage.base.settings import Settings
from storage.git.fsck import needs_content
from storage.git.objects import SUBMODULE_MODE, Kind
from storage.git.paths import as_text
from storage.git.trees import covers
from storage.lookup.object_kinds import Described
from storage.operations.slices import SliceGone
from storage.queue import Admission
from storage.view.snapshot import Slice

MAX_JUDGED_BYTES = 1 << 20
"""A content put by id where its bytes must be judged (a symlink, .gitmodules, .gitattributes) has no more of them."""


def check_capacity(
    settings: Settings, admission: Admission, submissions: Sequence[Submission], slice_id: str = ""
) -> None:
    """Raise LimitReached where these would be too many; `slice_id`: also for that slice alone."""
    count, held = len(submissions), sum(submission.hold for submission in submissions)
    if admission.pending >= settings.max_pending:
        raise LimitReached(f"{admission.pending} changesets are committed and not merged (max_pending)")
    if admission.queued + count > settings.max_queued:
        raise LimitReached(f"{admission.queued} changesets are queued (max_queued)")
    if held and admission.held + held > settings.max_held:
        raise LimitReached(f"{admission.held} changesets are held (max_held)")
    if slice_id and admission.queued_in.get(slice_id, 0) + count > settings.max_queued_per_slice:
        raise LimitReached(f"{slice_id} has too many queued (max_queued_per_slice)")


def check_queue(settings: Settings, admission: Admission, name: str, coming: int) -> None:
    """Raise LimitReached where so many of a request that are coming into a slice are too many with those queued."""
    queued = admission.queued_in[name]
    if queued + coming > settings.max_queued_per_slice:
        raise LimitReached(f"{queued} changesets of {name} are queued (max_queued_per_slice)")


def check_slice(admission: Admission, submission: Submission, who: Caller = EVERYBODY) -> Slice:
    """Return the slice of a submission, which has all its paths, all of which the caller may write.

    Raises SliceGone, FieldRefused, NotAllowed and Recovering.
    """
    where = admission.slices.get(submission.slice)
    if where is None or not who.may(Right.READ, where.paths):
        raise _unless_behind(admission, SliceGone(submission.slice))
    for i, change in enumerate(submission.changes):
        breathe()
        if not covers(where.paths, change.path):
            raise _unless_behind(
                admission, FieldRefused(field_of(submission.changes, i), f"is not in the slice {where.name}")
            )
    who.require(Right.WRITE, [change.path for change in submission.changes])
    return where


def check_author(submission: Submission, who: Caller) -> None:
    """Raise NotAllowed where a caller may name itself alone, and names another.

    As the author, or as the committer of a commit that it pushes: whoever commits another's work does that as itself.
    """
    if not who.only_own_authors:
        return
    committer = submission.pushed.committer_email if submission.pushed else None
    own = who.person.emails if who.person else ()
    if any(email is not None and email not in own for email in (submission.author_email, committer)):
        who.require(Right.IMPERSONATE, [change.path for change in submission.changes])


def check_priority(submission: Submission, who: Caller) -> None:
    """Raise NotAllowed where a changeset would go before others', and its submitter is no maintainer of its paths."""
    if submission.priority > 0:
        who.require(Right.MAINTAIN, [change.path for change in submission.changes])


def keys_of(key: str | None) -> tuple[str, ...]:
    """Return an idempotency key, and as what it counts that was given before keys had an owner."""
    if not key:
        return ()
    _, separator, bare = key.partition(KEY_SEPARATOR)
    return (key, bare) if separator else (key,)


def _unless_behind(admission: Admission, refusal: Refused) -> SluiceError:
    """Return a refusal, or Recovering unless Redis is recovered: something that it lacks may stand in the log."""
    return refusal if admission.recovered else Recovering("the view may be behind the log")


def check_key(admission: Admission, keys: Sequence[str], fingerprint: str) -> ChangesetId | None:
    """Return the changeset that was made with an idempotency key already. Raises KeyReused where it is another."""
    owner = next((admission.keys[key] for key in keys if key in admission.keys), None)
    if owner is None:
        return None
    if owner[1] != fingerprint:
        raise KeyReused
    return owner[0]


def check_base(admission: Admission, submission: Submission) -> None:
    """Raise FieldRefused where the base is a changeset that is not known."""
    if isinstance(submission.base, ChangesetBase) and submission.base.id not in admission.bases:
        raise FieldRefused("base", f"{submission.base.id} is no changeset of this repository")


def puts_by_id(change: Change) -> bool:
    """Tell whether a change puts a content that is stored already."""
    return change.op == "put" and change.content is None and change.mode != SUBMODULE_MODE


def check_stored(change: Change, stored: Described | None, field: str) -> int:
    """Return the size of the stored blob that a change puts by its id. Raises FieldRefused where it may not be put."""
    assert change.oid is not None
    if stored is None:
        raise FieldRefused(field, f"{change.oid.hex()} is not stored here")
    if stored.kind != Kind.BLOB:
        raise FieldRefused(field, f"{change.oid.hex()} is no blob")
    if stored.size > MAX_JUDGED_BYTES and needs_content(change.path, change.mode):
        detail = f"has {stored.size} bytes; at {as_text(change.path)}, one put by id has {MAX_JUDGED_BYTES}"
        raise FieldRefused(field, detail)
    return stored.size
