"""The output of others as JSON lines too: logs of libraries, warnings, printed text, and fatal errors.

`take_over` is called by the entry points of a deployment's processes, before anything else may fail; not by commands,
whose output is for a person. Libraries are logged from `info` upwards: at `debug` they log every message.
"""

import io
import logging
import sys
import threading
from types import TracebackType
from typing import Any, TextIO

from storage.base import logging_setup

# Loggers that tell of each task or tick what Sluice's own events tell already.
_TALKATIVE = ("celery.worker.strategy", "celery.app.trace", "celery.beat", "tornado.access")
# These keep to themselves what they say, unless configured otherwise.
_SOLITARY = ("multiprocessing", "gunicorn.error", "gunicorn.access")
_TRACEBACK = "Traceback (most recent call last):"
_LONGEST = 64 << 10  # characters of a line, or of a traceback, that is printed in pieces


def take_over() -> None:
    """Turn everything that this process writes to standard output and standard error into JSON lines. Idempotent."""
    root = logging.getLogger()
    root.handlers = [_Handler()]
    root.setLevel(logging.INFO)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _SOLITARY:
        logging.getLogger(name).propagate = True
    logging.captureWarnings(True)
    sys.excepthook = _process_failed
    threading.excepthook = _thread_failed
    sys.unraisablehook = _unraisable
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Printed):
            setattr(sys, name, Printed(stream, name))


class _Handler(logging.Handler):
    """Writes a record of Python's logging as an event whose name is its message."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write it; one that cannot be written is replaced by a notice."""
        # Not the handler's own level: `configure` may be called again.
        if record.levelno < logging_setup.level():
            return
        # What has been logged already by the event of the task that failed with it.
        error = record.exc_info[1] if record.exc_info else None
        if getattr(error, "is_logged", False):
            return
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        try:
            message = record.getMessage().strip()
        except Exception as reason:  # noqa: BLE001 - arguments that do not fit their format
            message, fields["malformed"] = str(record.msg), str(reason)
        logging_setup.output().msg(logging_setup.line(message, record.levelname.lower(), **fields))


class Printed(io.TextIOBase):
    """Standard output or standard error: each printed line becomes an event, and a traceback becomes one event."""

    def __init__(self, behind: TextIO, name: str) -> None:
        super().__init__()
        self.behind = behind
        self._stream = name
        self._begun = ""
        self._traceback: list[str] = []

    def write(self, text: str) -> int:
        """Buffer text, and write the lines that it completes."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._line(line)
        if len(self._begun) > _LONGEST:
            self._line(self._begun)
            self._begun = ""
        return len(text)

    def flush(self) -> None:
        """Do nothing: the last line may not be complete."""

    def fileno(self) -> int:
        """Return the descriptor of the original stream."""
        return self.behind.fileno()

    def isatty(self) -> bool:
        """Return False: the output is for a program."""
        return False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the original stream."""
        return self.behind.encoding

    def writable(self) -> bool:
        """Return True."""
        return True

    def _line(self, text: str) -> None:
        if self._traceback:
            self._traceback.append(text)
            # Its last line, which names the exception, is the first that is not indented.
            if not text.startswith(" ") or sum(map(len, self._traceback)) > _LONGEST:
                whole, self._traceback = "\n".join(self._traceback), []
                self._say(text.strip() or "traceback", "error", exception=whole)
        elif text == _TRACEBACK:
            self._traceback = [text]
        elif text.strip():
            self._say(text.strip(), "info")

    def _say(self, event: str, severity: str, **fields: Any) -> None:
        if logging.getLevelName(severity.upper()) >= logging_setup.level():
            logging_setup.output().msg(logging_setup.line(event, severity, stream=self._stream, **fields))


def _process_failed(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    logging_setup.log.critical("process_failed", error=kind.__name__, detail=str(error), exc_info=(kind, error, where))


def _thread_failed(failure: Any) -> None:
    if failure.exc_type is SystemExit:
        return
    name = failure.thread.name if failure.thread else ""
    cause = (failure.exc_type, failure.exc_value, failure.exc_traceback)
    logging_setup.log.error("thread_failed", thread=name, error=failure.exc_type.__name__, exc_info=cause)


def _unraisable(failure: Any) -> None:
    cause = (failure.exc_type, failure.exc_value, failure.exc_traceback)
    logging_setup.log.error(
        "exception_ignored", where=repr(failure.object), error=failure.exc_type.__name__, exc_info=cause
    )
