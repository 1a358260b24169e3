"""One push: from its first byte to the line that says what became of it.

Its pack is received into a folder of its own (incoming.py), read, and the folder deleted, before anything is submitted.
What is submitted goes through the intake as any changeset does, all of a push in one pack. From then on it is durable:
a client that hangs up cancels nothing, and the same push again is answered by its commits' ids (known.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from app.access.authentication import Access
from app.gateway.receive import outcomes
from app.gateway.receive.advertised import Advertised
from app.gateway.receive.commits import SHOWN_DIGITS
from app.gateway.receive.incoming import MAIN, Incoming, TooLarge, left_in, remove_left
from app.gateway.receive.known import Known, KnownCommits
from app.gateway.receive.options import Options, read_options
from app.gateway.receive.received import NotComplete, Received
from app.gateway.receive.small.in_memory import InMemory, read_small
from app.gateway.receive.small.store_objects import StoresObjects
from app.gateway.receive.taking import Pusher, Store, Taken, Taking, check_may_push
from app.gateway.receive.words import NOTHING, Command, Reader, Request, Told, read_request
from app.intake.intake import Intake
from app.intake.lookups import Lookups
from app.service.long_polls import Waiting
from app.shares.limits import limits_of
from app.shares.rates import Rates
from app.shares.rates import refusal as over_rate
from storage.backends import deadline
from storage.backends.redis_client import UNAVAILABLE
from storage.base.errors import LimitReached, Refused, Unavailable
from storage.base.ids import ObjectId
from storage.git.run_git import GitFailed
from storage.log.entry import GIT_FORMAT
from storage.log.records import Status
from storage.metrics.counts import COUNTS
from storage.metrics.definitions import PUSHES
from storage.repository import Repository
from storage.view.snapshot import Slice

log = structlog.get_logger()

FOR_MAIN = b"refs/for/main"
KEEPALIVE = 5.0
"""Seconds after which a client that waits is told that it is not forgotten."""
REFUSING: tuple[type[Exception], ...] = (Refused, *UNAVAILABLE)
_ADVICE = "push to refs/for/main instead: git push origin HEAD:refs/for/main"
_NO_RIGHT_YET = "an older node is at work, which cannot read what a push brings; push again when it is gone"
_NOT_ATOMIC = "another ref of this atomic push was refused"
# Seconds between two looks whether a process that was there before this one has ended.
_LOOK_EVERY = 1.0
# Bytes of a refused push that are read and thrown away, so that its client reads the answer; then the connection ends.
_DRAINED = 1 << 30


class Receiver:
    """Receives the pushes of one process. Safe for threads."""

    def __init__(self, repo: Repository, access: Access, rates: Rates, folder: Path) -> None:
        """Receive into `folder`; `rates` counts pushes as requests, and `access` is asked after each wait."""
        self.repo = repo
        self.access = access
        self.rates = rates
        self.folder = folder
        self.is_stopping = False
        self.advertised = Advertised()
        self.stores = StoresObjects()
        self.waiting = Waiting(repo, access.expire)
        lookups = Lookups(repo.queue)
        self._intake = Intake(repo)
        self.known = KnownCommits(repo, lookups.admission)
        self.taking = Taking(repo, lookups, self._intake, self.known)
        self.pool = ThreadPoolExecutor(repo.settings.pushes_at_once, "push")
        self.beside = ThreadPoolExecutor(1, "push-remove")
        self._ended = threading.Event()

    def start(self) -> None:
        """Remove what processes that are gone have left, and start the threads that store, announce and wait."""
        if left := remove_left(left_in(self.folder)):
            threading.Thread(target=self._remove_left, args=[left], name="push-left", daemon=True).start()
        self._intake.start()
        self.waiting.feed.start()

    def stop(self) -> None:
        """End them; returns when what is being taken has been taken. Who waits is told how it stands."""
        self.is_stopping = True
        self.waiting.leave()
        self.pool.shutdown()
        self.beside.shutdown()
        self._ended.set()
        self._intake.stop()
        self.waiting.feed.stop()

    def _remove_left(self, left: list[Path]) -> None:
        # A process whose parent was killed may outlive the start of its successor.
        while left and not self._ended.wait(_LOOK_EVERY):
            left = remove_left(left)

    def receive(self, read_piece: Callable[[], bytes], store: Store, where: Slice | None, pusher: Pusher) -> Push:
        """Read a push from `read_piece` to its end, and return the answer, whose last part may take long.

        `where` is the slice of the store, None that of the whole repository. Raises NotUnderstood and BrokenOff where
        nothing can be answered in the protocol's words; what else is wrong is told in these.
        """
        reader = Reader(read_piece)
        push = Push(self, read_request(reader), reader, store, where, pusher)
        push.read()
        return push


class Push:
    """One push that was read; iterated, it is taken, and its answer comes in pieces."""

    def __init__(
        self,
        receiver: Receiver,
        request: Request | None,
        reader: Reader,
        store: Store,
        where: Slice | None,
        pusher: Pusher,
    ) -> None:
        self._to = receiver
        self._settings = receiver.repo.settings
        self._request = request = request or NOTHING
        self._reader = reader
        self._store = store
        self._where = where
        self._pusher = pusher
        self._told = Told(request.capabilities)
        self._results: dict[bytes, str | None] = {command.ref: _not_taken(command) for command in request.commands}
        self._options = Options()
        self._incoming: Received | None = None
        self._main = next((each for each in request.commands if self._results[each.ref] is None), None)
        self._unpacked, self._refusal = "ok", ""
        self._is_over = False
        self._taking: Future[Taken] | None = None
        self._removing = threading.Lock()
        self.ended: Callable[[], None] | None = None
        """Called once, when nobody reads its answer and it was taken: one that hung up keeps others waiting still."""

    def __iter__(self) -> Iterator[bytes]:
        """Take it, and yield the answer. Whoever does not read it to its end cancels nothing."""
        if not self._request.commands:
            return
        if self._main is not None and not self._refusal:
            yield from self._answer(self._main)
        yield from self._end()

    def abort(self) -> None:
        """Have whoever iterates end, from another thread."""
        self._is_over = True

    def close(self) -> None:
        """End it: nobody reads its answer. What is being taken is taken to its end."""
        self._is_over = True
        if self._taking is None:
            self._finish()
        else:  # whether it has ended or not: who iterated may not have heard of that
            self._taking.add_done_callback(lambda _: self._finish())

    def _finish(self) -> None:
        self._remove()
        ended, self.ended = self.ended, None
        if ended:
            ended()

    # --- Reading ------------------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Read the pack, unless all is refused already."""
        if self._main is not None:
            try:
                self._check_before()
                self._receive(self._main)
            except TooLarge as error:
                self._unpacked = self._refusal = str(error)
            except REFUSING as error:
                self._refusal = _told_as(error)
            except BaseException:
                self._remove()
                raise
        if self._request.has_pack:
            self._drain()
        if self._refusal:
            self._remove()

    def _receive(self, main: Command) -> None:
        """Receive the pack: in memory where it is small and ordinary, else by Git. Raises GitFailed and TooLarge."""
        most = self._settings.max_push_bytes
        store = self._to.stores.of(self._store.path)
        small = read_small(self._reader.rest(), main.tip, store, partial(self._by_git, main), most)
        if isinstance(small, InMemory):
            self._incoming = small
            return
        incoming = self._incoming = Incoming(self._to.folder, self._store.path)
        incoming.take(small, most)

    def _by_git(self, main: Command, pack: bytes) -> Incoming:
        """Have Git receive a pack that was read. Raises GitFailed and NotComplete."""
        incoming = Incoming(self._to.folder, self._store.path)
        try:
            incoming.take(iter([pack]), len(pack))
            incoming.finish([main.tip])
        except BaseException:
            incoming.remove()
            raise
        return incoming

    def _check_before(self) -> None:
        """Refuse what needs no pack to be refused."""
        self._options = read_options(self._request.options, self._settings)
        who = self._pusher.who
        standing = self._to.rates.take(who)
        if standing is not None and not standing.allowed:
            raise over_rate(who, limits_of(self._settings, who).requests_per_second, standing)
        check_may_push(who, self._where)
        if not self._to.repo.nodes.all_read(GIT_FORMAT):
            raise Unavailable(_NO_RIGHT_YET)
        if b"atomic" in self._request.capabilities and any(why is not None for why in self._results.values()):
            raise Refused(_NOT_ATOMIC)

    def _drain(self) -> None:
        """Read what is left: a client that is not read to its end does not read its answer."""
        left = _DRAINED
        with suppress(Refused, OSError):
            for piece in self._reader.rest():
                left -= len(piece)
                if left < 0:
                    return

    def _remove(self) -> None:
        with self._removing:
            incoming, self._incoming = self._incoming, None
        if incoming:
            incoming.remove()

    # --- Answering ----------------------------------------------------------------------------------------------------

    def _answer(self, main: Command) -> Iterator[bytes]:
        taking = self._taking = self._to.pool.submit(self._take, main.tip)  # whoever hangs up, it is done to its end
        try:
            yield from self._alive_until(taking)
            taken = taking.result()
            self._to.beside.submit(self._remove)
            yield from (self._told.line(note) for note in taken.notes)
            self._refusal = (yield from self._wait(taken)) or ""
        except NotComplete as error:
            self._unpacked = self._refusal = str(error)
        except REFUSING as error:
            self._refusal = _told_as(error)
        except Exception:
            log.exception("push_failed")
            self._refusal = "Sluice failed; its log says why"

    def _alive_until(self, future: Future[Taken]) -> Iterator[bytes]:
        while True:
            try:
                future.exception(KEEPALIVE)
                return
            except NotYet:
                yield self._told.alive

    def _end(self) -> list[bytes]:
        """Return the report: of each ref what it was refused for before, or now."""
        refusal = self._refusal or None
        results = {ref: refusal if why is None else why for ref, why in self._results.items()}
        if b"atomic" in self._request.capabilities and any(why is not None for why in results.values()):
            results = {ref: _NOT_ATOMIC if why is None else why for ref, why in results.items()}
        accepted = any(why is None for why in results.values())
        COUNTS.add(PUSHES, "accepted" if accepted else "refused")
        log.info("push", refs=len(results), accepted=accepted, reason=refusal or next(iter(results.values())) or "")
        lines = [self._told.line(why) for why in dict.fromkeys(results.values()) if why]
        return [*lines, self._told.report(self._unpacked, results.items())]

    def _take(self, tip: ObjectId) -> Taken:
        """Understand the push, and have it accepted. Raises Refused and Unavailable."""
        assert self._incoming
        is_taken = False
        try:
            self._incoming.finish([tip])
            if self._pusher.who.is_known:
                self._to.access.check(self._pusher.who)  # it may have been sent for minutes
            taken = self._to.taking.take(
                self._incoming, self._store, self._where, self._pusher, self._options, tip
            )  # fmt: skip
            is_taken = True
            return taken
        except NotComplete:
            self._incoming.check_store()
            raise
        finally:
            if not is_taken:  # else it is removed when that keeps nobody waiting
                self._remove()

    def _wait(self, taken: Taken) -> Generator[bytes, None, str | None]:
        """Tell where each changeset stands, once that is final or the time is over; return why the ref is refused."""
        final = outcomes.FINAL | ({Status.COMMITTED} if self._options.wait == "committed" else set())
        seconds = 0.0 if self._options.wait == "no" or self._options.hold else self._settings.max_wait
        until = time.monotonic() + seconds
        refusals = []
        for commit, known_before in taken.commits:
            known = known_before
            while known.status not in final and known.status != Status.HELD:
                left = until - time.monotonic()
                if left <= 0 or self._is_over or self._to.is_stopping:
                    break
                self._to.waiting.wait(
                    known.changeset, min(left, KEEPALIVE), lambda state: state.status in final
                )  # fmt: skip
                known = self._now(known)
                if known.status not in final:
                    yield self._told.alive
            yield self._told.line(outcomes.told(commit.oid, commit.subject, known))
            if why := outcomes.refusal(known, self._pusher.who):
                refusals.append(f"{commit.oid.hex()[:SHOWN_DIGITS]}: {why}")
            elif known.status in (Status.QUEUED, Status.COMMITTED) and seconds:
                yield self._told.line("it is accepted, and nothing more need be done; the same push again tells more")
        return refusals[0] if refusals else None

    def _now(self, known: Known) -> Known:
        with deadline.budget("request_budget", self._settings.request_budget):
            if self._pusher.who.is_known:
                self._to.access.check(self._pusher.who)
            state = self._to.known.states([known.changeset])[known.changeset]
            return self._to.known.settled(known.changeset, state)


def _not_taken(command: Command) -> str | None:
    """Return why a ref is not pushed, whatever comes for it; None of the one that is."""
    if command.is_delete:
        return "refs cannot be deleted here; a changeset that waits is taken back with: sluice abandon"
    if command.ref == FOR_MAIN:
        return None
    if command.ref == MAIN.encode():
        return _ADVICE
    return f"there is no such ref to push to; {_ADVICE}"


def _told_as(error: Exception) -> str:
    """Return what a client is told of an error of ours, or of a server that is away."""
    if isinstance(error, GitFailed):
        # It is not the client's doing, and what Git says has paths of this machine.
        log.error("push_failed", reason=str(error))
        return "not available now, push again: Git cannot be run"
    if isinstance(error, Refused | LimitReached):
        return str(error)
    return f"not available now, push again: {error if isinstance(error, Unavailable) else 'a server is away'}"
