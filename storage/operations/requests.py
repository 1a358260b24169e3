"""Who had an entry made: what entries say of requests, as far as every node reads it."""

from __future__ import annotations

import time
from typing import NamedTuple

from storage.commit import Draft, NoEntry, append_directly
from storage.log.entry import ACTOR_FORMAT, Asked, decode
from storage.log.records import Actor
from storage.repository import Repository
from storage.view.snapshot import Snapshot

MERGE = "merge"


class Recorded(NamedTuple):
    """What an entry says of who had it made."""

    actor: Actor | None
    time: int  # seconds since 1970; 0 without an actor


NOBODY = Recorded(None, 0)


def recorded_as(repo: Repository, actor: Actor | None) -> Recorded:
    """Return what an entry made now says of an actor: nothing while an older node is at work. Raises RedisError.

    An entry of the former form can be read by all; one that waited for the upgrade to end would be a request refused.
    """
    return Recorded(actor, int(time.time())) if actor and repo.nodes.all_read(ACTOR_FORMAT) else NOBODY


def record_merge_request(repo: Repository, actor: Actor) -> None:
    """Record that somebody asked for a batch merge, which no entry would say else. Raises Unavailable.

    Who asks again while nothing else was done is not recorded again: a client that waits asks several times a second.
    """
    by = recorded_as(repo, actor)
    if by.actor is None:
        return
    entry = Asked(what=MERGE, actor=by.actor, time=by.time)

    def build_entry(snapshot: Snapshot) -> Draft[None] | NoEntry[None]:
        data = repo.log.read(snapshot.head.applied) if snapshot.head.pending else None
        last = decode(data) if data else None
        asked = isinstance(last, Asked) and (last.what, last.actor.principal) == (MERGE, actor.principal)
        return NoEntry(None) if last is None or asked else Draft(entry, None)

    append_directly(repo, build_entry)
