"""What is known in Redis of each mirror: how far it has come, and when it is tried again.

All of it is work: where it is lost, the mirror's server says what it has, and a mirror that waited is tried at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.json import Decoder, encode

from storage.base.ids import new_ulid
from storage.view.view import View

# A message that no run has taken within this time counts as lost (ms).
_MESSAGE_LIFE = 3_000


class MirrorProgress(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a mirror has come. Times are seconds since 1970."""

    remote: str = ""  # what the branch is at its server, as the server said last; empty: not there
    local: str = ""  # the commit that it is to have; of a branch that is followed, the last that was taken
    tags: str = ""  # a digest of the tags that the server has been given
    other_tags: int = 0  # tags that are others at the server, and stay
    refused_tags: int = 0  # tags that the server does not take
    refused_names: tuple[str, ...] = ()  # the first of them
    refused_detail: str = ""  # what it said of one
    tags_tried: float = 0.0  # when it was given some of them last
    behind: int = 0  # commits that the other side lacked then
    merged: int = 0  # the changesets that had landed then
    applied: int = 0  # the entry of the log up to which that was looked at
    even_seq: int = 0  # the entry up to which the server has had everything; 0: unknown
    even_at: float = 0.0  # when that was seen, or when the mirror was looked at first
    looked: float = 0.0  # when its server answered last; 0: never
    pushed: float = 0.0  # when the server took something last
    failed: int = 0  # tries since then
    due: float = 0.0  # when it is looked at again, at the earliest
    error: str = ""  # of the last try, a word for programs
    detail: str = ""  # and for people


_decode = Decoder(MirrorProgress).decode


class MirrorWork:
    """The work of mirrors in Redis. Every method raises redis.RedisError."""

    def __init__(self, view: View) -> None:
        self._view = view

    def progress(self, names: Sequence[str]) -> list[MirrorProgress | None]:
        """Return how far mirrors have come, None of those of which Redis knows nothing."""
        rows = self._view.redis.mget([self._progress_key(each) for each in names]) if names else []
        return [_decode(row) if row else None for row in rows]

    def save(self, name: str, progress: MirrorProgress) -> None:
        """Note how far a mirror has come, also while Redis is full."""
        key = self._progress_key(name).removeprefix(self._view.prefix)
        self._view.scripts("note", key, encode(progress))

    def ask(self, name: str) -> bool:
        """Tell whether a message for a mirror is to be sent: none is on its way."""
        key = self._asked_key(name).removeprefix(self._view.prefix)
        return not self._view.scripts("take", key, new_ulid(), _MESSAGE_LIFE, 0)

    def answered(self, name: str) -> None:
        """Say that a run for a mirror is over: the next message may come at once."""
        self._view.redis.delete(self._asked_key(name))

    def forget(self, name: str) -> None:
        """Forget all of a mirror: it was deleted, or is to be looked at anew."""
        self._view.redis.delete(self._progress_key(name), self._asked_key(name))

    def _progress_key(self, name: str) -> str:
        return f"{self._view.prefix}mirror_progress:{name}"

    def _asked_key(self, name: str) -> str:
        return f"{self._view.prefix}mirror_asked:{name}"
