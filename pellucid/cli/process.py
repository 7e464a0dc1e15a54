"""The `pellucid` command as a process, which Ctrl-C ends with one line and exit code 130 at any time.

This module imports nothing else of Pellucid before the handler is installed: imports take most of the time of a short
command.
"""

import atexit
import contextlib
import gc
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

from pellucid.cli import INTERRUPTED

GARBAGE_THRESHOLD = 50_000  # new objects after which Python searches for garbage, 700 by default
RESEND_SECONDS = 0.01  # after which an interrupt that was ignored is sent again
MESSAGE = b"pellucid: stopped by Ctrl-C\n"
IMPORT_FILE = "<frozen importlib._bootstrap>"  # file name of the code that runs an import


def run() -> NoReturn:
    """Run the command line: the target of the `pellucid` script."""
    # Imports create half a million objects that stay; searching them for garbage again and again took a tenth of a
    # short command.
    gc.set_threshold(GARBAGE_THRESHOLD)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not in the background, where it is ignored
        signal.signal(signal.SIGINT, _interrupt)
    # Run last of all exit functions: Python then restores the default handler, which ends the process without a word.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    sys.unraisablehook = _unraisable_hook
    from pellucid.cli.main import run_command

    exit_code = run_command()
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.signal(signal.SIGINT, _end_process)  # the command is finished, and nothing would catch an exception
    sys.exit(exit_code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, but end the process in an import, which may raise another error in its place, or none.

    Files are written atomically, so at most a temporary file remains.
    """
    while frame is not None:
        if frame.f_code.co_filename == IMPORT_FILE:
            _end_process(number, frame)
        frame = frame.f_back
    raise KeyboardInterrupt


def _end_process(number: int, frame: FrameType | None) -> None:
    """End the process at once."""
    if sys.stdout is not None:
        # OSError: a closed pipe. RuntimeError: the signal arrived while stdout was being written.
        with contextlib.suppress(OSError, RuntimeError):
            sys.stdout.flush()
    os.write(2, MESSAGE)
    os._exit(INTERRUPTED)


def _unraisable_hook(unraisable: Any) -> None:
    """Send SIGINT again if KeyboardInterrupt was raised where Python ignores exceptions, such as in a destructor."""
    if unraisable.exc_type is KeyboardInterrupt:
        threading.Timer(RESEND_SECONDS, os.kill, [os.getpid(), signal.SIGINT]).start()
    else:
        sys.__unraisablehook__(unraisable)
