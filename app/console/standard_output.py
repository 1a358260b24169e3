"""Standard output of commands: it accepts names that are not valid text, and a failed write is an error.

If the disk is full, the error names the output. If the reader has closed the pipe (`sluice log | head -1`), that is no
error: the command ends with the exit code of SIGPIPE.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from storage.base.errors import Unavailable


class ReaderGone(Unavailable):
    """The reader of the output has closed its end of the pipe."""


class _Output(io.TextIOWrapper):
    """Standard output whose errors name it."""

    def write(self, text: str, /) -> int:
        """Write it. Raises ReaderGone, and OSError with the name of the output."""
        with _named():
            return super().write(text)

    def flush(self) -> None:
        """Write what is kept. Raises ReaderGone, and OSError with the name of the output."""
        with _named():
            super().flush()


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ReaderGone from None
    except OSError as error:
        error.filename = error.filename or "standard output"
        raise


def prepare() -> None:
    """Make sys.stdout and sys.stderr accept any text, and name themselves in errors."""
    # They are None where the descriptor was closed (`>&-`).
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    # A test's own is left as it is.
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        old = sys.stdout
        encoding, buffered = old.encoding, old.line_buffering
        sys.stdout = _Output(old.detach(), encoding, _errors(encoding), line_buffering=buffered)
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors=_errors(sys.stderr.encoding))


def finish() -> None:
    """Write what is still buffered. Raises ReaderGone and OSError."""
    sys.stdout.flush()


def give_up() -> None:
    """Drop what could not be written, so that the interpreter does not try again at its exit, and print an error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ReaderGone, ValueError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def _errors(encoding: str) -> str:
    """Return the error handler for characters that an encoding lacks: paths may contain any byte."""
    return "surrogateescape" if encoding.lower().replace("-", "") == "utf8" else "backslashreplace"
