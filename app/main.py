"""The entry point of `sluice`: Ctrl-C ends it without a traceback, even while the other modules are imported."""

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line."""
    # A shell that starts a command in the background has SIGINT ignored, and so it stays.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    from app.cli import main as run

    try:
        run()
    finally:
        # What is left is the interpreter's own end.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _stop)


def _stop(_number: int, _frame: FrameType | None) -> None:
    """End at once: the command has not begun, or is done."""
    if "--json" not in sys.argv:
        os.write(2, b"Stopped.\n")
    os._exit(130)
