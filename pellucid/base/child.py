"""Processes of our own scripts that work on files of others, and end at limits of time and memory."""

import subprocess
import sys
from collections.abc import Sequence

OUT_OF_MEMORY = 3  # exit code of a script that has no memory left


def run_child(arguments: Sequence[str], time_limit: float, limit_error: Exception) -> str | None:
    """Run Python with arguments, and return the last line of its errors if it failed, None if it succeeded.

    The script limits its own processor time and memory; time_limit: seconds after which it is ended here. Raises
    limit_error if it was ended by this limit, by the system, or with OUT_OF_MEMORY.
    """
    command = [sys.executable, *arguments]
    try:
        process = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=time_limit, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise limit_error from error
    if process.returncode < 0 or process.returncode == OUT_OF_MEMORY:
        raise limit_error
    if not process.returncode:
        return None
    return process.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
