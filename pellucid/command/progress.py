"""Lines on stderr that show progress and are overwritten by each update."""

import sys


class DownloadProgress:
    """A line with the downloaded percentage of a file, or the megabytes if its size is unknown."""

    def __init__(self) -> None:
        self._last_shown: tuple[str, int] | None = None

    def __call__(self, file: str, done: int, total: int | None) -> None:
        """Show that `done` of `total` bytes are downloaded; total: None if the size is unknown."""
        amount = 100 * done // total if total else done >> 20  # per cent, or megabytes
        if self._last_shown != (file, amount):
            self._last_shown = (file, amount)
            sys.stderr.write(f"\r{file}: {amount} {'%' if total else 'MB'} ")

    def end(self) -> None:
        """End the line, if one was written."""
        if self._last_shown is not None:
            sys.stderr.write("\r\n")


class CountProgress:
    """A line with the number of items done so far; it is written only if `enabled` and stderr is a terminal."""

    def __init__(self, enabled: bool) -> None:
        self._enabled, self._is_shown = enabled and sys.stderr.isatty(), False

    def __call__(self, label: str, done: int, total: int) -> None:
        """Show that `done` of `total` items are done; label: the kind of item."""
        if self._enabled:
            self._is_shown = True
            sys.stderr.write(f"\r\x1b[K{label} {done:,} of {total:,} ")

    def end(self) -> None:
        """Remove the line, if one was written."""
        if self._is_shown:
            self._is_shown = False
            sys.stderr.write("\r\x1b[K")


class StatusLine:
    """A line with a text that may be replaced; it is written only if stderr is a terminal."""

    def __init__(self) -> None:
        self._is_shown = False

    def show(self, text: str) -> None:
        """Replace the text of the line."""
        if sys.stderr.isatty():
            self._is_shown = True
            sys.stderr.write(f"\r\x1b[K{text} ")
            sys.stderr.flush()

    def end(self) -> None:
        """End the line, if one was written."""
        if self._is_shown:
            self._is_shown = False
            sys.stderr.write("\r\n")
