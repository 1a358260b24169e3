"""What can go wrong with the view, the log and the queues, and what a caller should do about it."""

from __future__ import annotations


class ViewAbsent(Exception):
    """Redis has no view of the log: it was flushed, or is being loaded. Try again shortly."""


class ViewLoading(ViewAbsent):
    """Somebody else is loading the view."""


class ViewStale(Exception):
    """The view in Redis is not the one that was asked for: another epoch, or entries are missing."""


class Recovering(Exception):
    """View and queues may be behind the log and the inbox until upkeep has been there. Try again shortly."""


class Paused(Exception):
    """So much is committed and not merged that commits wait."""


class LogForked(Exception):
    """The view and the log disagree about an entry: the view must be loaded anew."""
