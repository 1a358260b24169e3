"""Rebuilding what Redis knows, now: the view from the log, then the queues from the inbox."""

from __future__ import annotations

from storage.queue.recovery import Found
from storage.repository import Repository
from storage.view.load import Progress, catch_up, load


def rebuild(repo: Repository, before: str | None, progress: Progress) -> tuple[bool, Found]:
    """Load the view in place of epoch `before` and queue every changeset without an outcome; raises what they raise.

    Returns whether this view was published, or another was meanwhile (storage/view/load.py), and what was queued.
    """
    # Asked for first: another run of Redis, which may come back older meanwhile, is not vouched for by what follows.
    run = repo.queue.run()
    published = load(repo.view, repo.log, repo.bucket, before, progress)
    epoch = repo.view.epoch()
    # What was appended while it was loaded has been applied to the view before it, and told.
    catch_up(repo.view, repo.log, repo.bucket)
    return published, repo.inbox.recover(run, epoch)
