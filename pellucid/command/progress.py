"""Lines on stderr that show progress and are rewritten as it changes."""

import sys


class DownloadProgress:
    """The percentage of a file that is downloaded, or the megabytes if the size is unknown."""

    def __init__(self) -> None:
        self._shown: tuple[str, int] | None = None

    def __call__(self, file: str, done: int, total: int | None) -> None:
        """Show that `done` of `total` bytes are downloaded; total None for an unknown size."""
        amount = 100 * done // total if total else done >> 20
        if self._shown != (file, amount):
            self._shown = (file, amount)
            sys.stderr.write(f"\r{file}: {amount} {'%' if total else 'MB'} ")

    def end(self) -> None:
        """End the line, if there is one."""
        if self._shown is not None:
            sys.stderr.write("\r\n")


class CountProgress:
    """The number of files read so far; nothing is written unless `enabled` and stderr is a terminal."""

    def __init__(self, enabled: bool) -> None:
        self._enabled, self._shown = enabled and sys.stderr.isatty(), False

    def __call__(self, label: str, done: int, total: int) -> None:
        """Show that `done` of `total` files are read, or pairs of files compared."""
        if self._enabled:
            self._shown = True
            sys.stderr.write(f"\r\x1b[K{label} {done:,} of {total:,} ")

    def end(self) -> None:
        """Remove the line, if there is one."""
        if self._shown:
            self._shown = False
            sys.stderr.write("\r\x1b[K")


class StatusLine:
    """A text that replaces the one before; nothing is written unless stderr is a terminal."""

    def __init__(self) -> None:
        self._shown = False

    def show(self, text: str) -> None:
        """Show a text in place of the one before."""
        if sys.stderr.isatty():
            self._shown = True
            sys.stderr.write(f"\r\x1b[K{text} ")
            sys.stderr.flush()

    def end(self) -> None:
        """End the line, if there is one."""
        if self._shown:
            self._shown = False
            sys.stderr.write("\r\n")
