"""What can go wrong, as a tree: the branch of an error's class says what a caller does about it.

An error that is raised without words says what the first sentence of its class's docstring does. What redis-py and the
operating system raise where a server is away does not grow here: see UNAVAILABLE in storage/backends/redis_client.py,
all of which a docstring means by "Raises Unavailable".
"""


class SluiceError(Exception):
    """Something went wrong."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(args or [(type(self).__doc__ or type(self).__name__).partition(".")[0]]))


class Unavailable(SluiceError):
    """A server, a lock or the view is away or busy. Nobody did anything wrong: try again."""


class Corrupt(SluiceError):
    """Stored bytes are not what they should be. Trying again does not help: `sluice verify` looks at all of them."""


class Refused(SluiceError):
    """What was asked for cannot be done. Whoever asked has to change something first."""


class BadInput(Refused):
    """What was given cannot be used: a file, a folder, an argument."""


class NeedsUpkeep(Unavailable):
    """View or queues are not what the log and the inbox say. Upkeep puts that right, so ask for it and try again."""


class ViewAbsent(NeedsUpkeep):
    """Redis has no view of the log: it was flushed, or is being loaded."""


class ViewLoading(ViewAbsent):
    """Somebody else is loading the view."""


class ViewStale(NeedsUpkeep):
    """The view in Redis is not the one that was asked for: another epoch, or entries are missing."""


class Recovering(NeedsUpkeep):
    """View and queues may be behind the log and the inbox until upkeep has been there."""


class LimitReached(Unavailable):
    """As much waits, or is open, as a setting allows; the text names it."""


class Paused(Unavailable):
    """So much is committed and not merged that commits wait."""


class LogUnreadable(NeedsUpkeep):
    """The index of a pack that the next entry of the log brings is damaged: nothing lands until it is put right."""


class LogForked(NeedsUpkeep):
    """The view and the log disagree about an entry: the view must be loaded again."""
