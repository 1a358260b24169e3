"""The exit codes of the command line: one table, which --help prints and docs/cli.md repeats."""

DONE = 0
WRONG = 1
USAGE = 2
CONFLICTED = 3
REJECTED = 4
TIMED_OUT = 5
UNREACHABLE = 6
REFUSED = 7
BUG = 70
INTERRUPTED = 130
READER_GONE = 141

MEANINGS = {
    DONE: "done",
    WRONG: "a check failed (verify, backup, restore, demo, replay, contend), or a mirror is stopped (mirror status, "
    "mirror follow)",
    USAGE: "wrong usage: the command line, a setting, or a file or folder that it names",
    CONFLICTED: "conflicted",
    REJECTED: "rejected or abandoned",
    TIMED_OUT: "--timeout has passed, and nothing is decided yet",
    UNREACHABLE: "the API, Redis or the bucket cannot be reached",
    REFUSED: "refused: by the API, or by what is stored or running",
    BUG: "a bug in Sluice; with SLUICE_DEBUG=1 it shows its traceback",
    INTERRUPTED: "stopped by Ctrl-C",
    READER_GONE: "the reader of the output is gone, as in `sluice log | head -1`",
}


def of_status(status: str) -> int:
    """Return the exit code for a changeset of this status, once --wait is over."""
    return _OF_STATUS.get(status, TIMED_OUT)


_OF_STATUS = {
    "committed": DONE,
    "landed": DONE,
    "conflicted": CONFLICTED,
    "rejected": REJECTED,
    "abandoned": REJECTED,
}
