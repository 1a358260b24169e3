"""One run for one webhook: its events in log order, one at a time, each again until it is taken.

How far it has come is noted in Redis behind each delivery, and in the log once a minute (due.py): what is lost in
between is told again, under the same ids. One run at a time delivers to a webhook; a run ends after some deliveries or
seconds, or where the next try is not due yet, so that a slow receiver holds a thread of a sender for a bounded time.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing

from msgspec.structs import replace

from storage.coordination import Lease, LeaseName
from storage.log.events import Position, parse
from storage.operations import webhooks
from storage.queue import Delivery, Progress, Wanted
from storage.repository import Repository
from storage.view.snapshot import Snapshot
from storage.view.webhooks import durable_positions, webhooks_of
from storage.webhooks import signing
from storage.webhooks.records import Disabled, Webhook
from tasks.webhooks import outcomes
from tasks.webhooks.rights import Reader
from tasks.webhooks.sender import Answer, Sender
from tasks.webhooks.told import PING, TYPE, Source, Told, body_of, ping_body

RUN_SECONDS = 10.0
"""A run begins no further delivery after this time."""
# A next try that is due within so many seconds is waited for; a later one is left to another run.
_WAITED_FOR = 0.5
# Events that are passed over before it is noted that they were.
_PASSED = 1000
_LIFE = 3600.0  # of the lease; its owner's process ends it long before
_JITTER = 0.2
_GONE = 410


class Run:
    """A run for one webhook."""

    def __init__(
        self, repo: Repository, webhook_id: str, source: Source, stopping: threading.Event, sender: Sender
    ) -> None:
        self._repo = repo
        self._id = webhook_id
        self._source = source
        self._stopping = stopping
        self._sender = sender
        self._reader = Reader(repo)
        [known] = repo.deliveries.progress([webhook_id])
        self._progress = known or _from_log(repo, webhook_id)
        self._walk: Iterator[tuple[Position, Told | None]] = iter(())
        self._next: tuple[Position, Told] | None = None
        self.delivered = self.failed = 0

    def go(self) -> bool:
        """Deliver; tell whether there is more to do at once. Raises Unavailable, Corrupt and RedisError."""
        until = time.monotonic() + RUN_SECONDS
        while self.delivered + self.failed < self._repo.settings.webhook_batch and time.monotonic() < until:
            if self._stopping.is_set():
                return False
            there = webhooks_of(self._repo.view, [self._id])
            if not there:
                raise webhooks.WebhookGone(self._id)
            webhook = there[0]  # as it is now: its URL and its secret may be others
            wanted = self._repo.deliveries.wanted(self._id)
            if wanted is not None:
                self._by_hand(webhook, wanted)
                continue
            wait = self._progress.wait(webhook.url, time.time())
            if webhook.disabled or wait > _WAITED_FOR:
                return False
            if wait > 0:
                self._stopping.wait(wait)
                continue  # it may be disabled by now
            if not self._one(webhook):
                return False
        return True

    def _one(self, webhook: Webhook) -> bool:
        """Deliver the next event, or pass over some; tell whether there was any."""
        snapshot = self._repo.snapshot()
        found = self._find(webhook, snapshot)
        if found is None:
            return self._progress.position.seq <= snapshot.head.applied
        reached, told = found
        event_id = signing.message_id(webhook.id, told.id)
        body = body_of(told, self._repo.settings.webhook_body_bytes)
        attempt = self._progress.failed + 1
        answer = self._post(webhook, event_id, body)
        made = Delivery(
            id=event_id, type=TYPE + told.event.name, time=time.time(), attempt=attempt, seconds=answer.seconds,
            event=told.id, status=answer.status, error=answer.error, answer=answer.text,
        )  # fmt: skip
        if answer.error is None:
            self._next = None
            self._note(replace(self._at(reached), told=(reached.seq, reached.sent)))
        else:
            made = self._fail(webhook, made, answer)
        self._record(webhook, made)
        return True

    def _find(self, webhook: Webhook, snapshot: Snapshot) -> tuple[Position, Told] | None:
        """Return the next event that is to be told, with the position behind it; those that are not are passed over."""
        passed = 0
        while True:
            if self._next is not None:
                reached, told = self._next
                if self._reader.may_know(webhook, told.event, snapshot):
                    return self._next
                self._next, self._progress = None, self._at(reached)
            step = next(self._walk, None)
            passed += 1
            if step is None:
                began, applied = self._progress.position, snapshot.head.applied
                if began.seq > applied:
                    self._note_passed()
                    return None
                self._walk = self._source.behind(began, applied)
            elif step[1] is not None:
                self._next = (step[0], step[1])
            else:
                self._progress = self._at(step[0])
            if passed >= _PASSED:
                self._note_passed()
                return None

    def _fail(self, webhook: Webhook, made: Delivery, answer: Answer) -> Delivery:
        """Note that a try failed, and when the next one is; return the delivery with that."""
        waits = self._repo.settings.retry_waits
        tries = made.attempt
        if answer.status == _GONE or tries > len(waits):
            # First in the log: where that fails, the event is only tried once more.
            reason = Disabled.GONE if answer.status == _GONE else Disabled.FAILING
            changed = webhooks.change(self._repo, webhook.id, lambda there: webhooks.disabled(there, reason))
            self._note(replace(self._progress, failed=0, due=0.0, error=answer.error))
            outcomes.count_disabled(changed)
            return made
        wait = waits[tries - 1]
        if answer.retry_after is not None:
            wait = max(wait, min(answer.retry_after, max(waits)))
        due = time.time() + wait * random.uniform(1.0, 1.0 + _JITTER)
        self._note(replace(self._progress, failed=tries, due=due, error=answer.error, url=webhook.url))
        return replace(made, next=due)

    def _by_hand(self, webhook: Webhook, wanted: Wanted) -> None:
        """Try once what somebody asked for: a ping, or an event that the webhook's owner may still know of."""
        body, kind = ping_body(webhook.id, int(time.time())), PING
        told = None
        if wanted.event is not None:
            told = self._source.at(parse(wanted.event))
            snapshot = self._repo.snapshot()
            if told is None or not self._reader.may_know(webhook, told.event, snapshot):
                self._repo.deliveries.tried(webhook.id)
                return
            body, kind = body_of(told, self._repo.settings.webhook_body_bytes), TYPE + told.event.name
        answer = self._post(webhook, wanted.id, body)
        self._repo.deliveries.tried(webhook.id)
        made = Delivery(
            id=wanted.id, type=kind, time=time.time(), attempt=1, seconds=answer.seconds, event=wanted.event,
            status=answer.status, error=answer.error, answer=answer.text, by_hand=True,
        )  # fmt: skip
        self._record(webhook, made)

    def _post(self, webhook: Webhook, message_id: str, body: bytes) -> Answer:
        settings, now = self._repo.settings, time.time()
        secrets = signing.secrets_at(webhook, settings.webhook_key, settings.webhook_overlap, now)
        headers = signing.headers(message_id, int(now), body, secrets)
        return self._sender.post(webhook.url, body, headers)

    def _record(self, webhook: Webhook, made: Delivery) -> None:
        if made.error is None:
            self.delivered += 1
        else:
            self.failed += 1
        self._repo.deliveries.record(webhook.id, made, self._repo.settings.webhook_deliveries)
        outcomes.count(webhook, made)

    def _at(self, reached: Position) -> Progress:
        """Return the progress behind an event: the next one was not tried yet."""
        return replace(self._progress, seq=reached.seq, sent=reached.sent, failed=0, due=0.0, error=None)

    def _note(self, progress: Progress) -> None:
        self._progress = progress
        self._repo.deliveries.save(self._id, progress)

    def _note_passed(self) -> None:
        self._repo.deliveries.save(self._id, self._progress)


def deliver(repo: Repository, webhook_id: str, source: Source, stopping: threading.Event) -> tuple[int, int, bool]:
    """Deliver to a webhook, unless somebody else does; return successes, failures, and whether more is to do at once.

    Without a key nothing is delivered: nobody could tell that it is ours. Raises Unavailable, RedisError, and Corrupt
    where an entry cannot be read.
    """
    if not repo.settings.webhook_key:
        return 0, 0, False
    with Lease(repo.view, LeaseName.DELIVERING, _LIFE, repo.heartbeat, webhook_id).held() as alone:
        if not alone:
            return 0, 0, False
        try:
            with closing(Sender(repo.settings)) as sender:
                run = Run(repo, webhook_id, source, stopping, sender)
                more = run.go()
        except webhooks.WebhookGone:
            repo.deliveries.forget(webhook_id)
            return 0, 0, False
    repo.deliveries.answered(webhook_id)
    return run.delivered, run.failed, more


def _from_log(repo: Repository, webhook_id: str) -> Progress:
    """Return how far a webhook has come by the log. Raises ViewAbsent and RedisError."""
    position = durable_positions(repo.view).get(webhook_id)
    if position is None:
        raise webhooks.WebhookGone(webhook_id)
    return Progress(seq=position.seq, sent=position.sent)
