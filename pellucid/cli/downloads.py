"""Progress of a download on stderr."""

import sys


class Progress:
    """A line on stderr that says how far a file is, rewritten when its percentage, or megabytes, change."""

    def __init__(self) -> None:
        self._shown: tuple[str, int] | None = None

    def __call__(self, file: str, done: int, total: int | None) -> None:
        """Show that `done` of `total` bytes have arrived; the total may be unknown."""
        part = 100 * done // total if total else done >> 20
        if self._shown != (file, part):
            self._shown = (file, part)
            sys.stderr.write(f"\r{file}: {part} {'%' if total else 'MB'} ")

    def end(self) -> None:
        """End the line, if there is one."""
        if self._shown is not None:
            sys.stderr.write("\r\n")
