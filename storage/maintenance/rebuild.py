"""Rebuilding the state of Redis at once: the view from the log, then the queues from the inbox."""

from storage.queue import InboxScan
from storage.repository import Repository
from storage.view.load import Progress, catch_up, load


def rebuild(repo: Repository, before: str | None, progress: Progress) -> tuple[bool, InboxScan]:
    """Load the view in place of epoch `before` and queue every changeset without an outcome; raises what they raise.

    Returns whether this view was published, or another was meanwhile (storage/view/load.py), and what was queued.
    """
    # Read the run id first. If Redis restarts from an older snapshot meanwhile, the id differs and it must not be
    # marked as recovered.
    run = repo.queue.run()
    published = load(repo.view, repo.log, repo.bucket, before, progress)
    epoch = repo.view.epoch()
    # Entries appended while it was loaded were applied to the view before it, and reported.
    catch_up(repo.view, repo.log, repo.bucket)
    return published, repo.inbox.recover(run, epoch)
