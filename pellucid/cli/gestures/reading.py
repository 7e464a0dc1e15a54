"""A line on stderr that says how far the look through a folder is, where people look at it."""

import sys


class Reading:
    """Writes the line, and takes it away at the end; nothing unless `watched`."""

    def __init__(self, watched: bool) -> None:
        self._watched, self._shown = watched and sys.stderr.isatty(), False

    def __call__(self, what: str, done: int, total: int) -> None:
        """Tell that `done` of `total` files are read, or pairs of them compared."""
        if self._watched:
            self._shown = True
            sys.stderr.write(f"\r\x1b[K{what} {done:,} of {total:,} ")

    def end(self) -> None:
        """End the line, if there is one."""
        if self._shown:
            self._shown = False
            sys.stderr.write("\r\x1b[K")
