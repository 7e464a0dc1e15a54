"""The errors that Pellucid raises on purpose."""

import difflib
from collections.abc import Iterable

from pellucid.text import printable


class PellucidError(Exception):
    """A mistake that the user can mend: one line that says what is wrong, where, and what to do.

    Names from data may stand in the message as they are: as text it is printable.
    """

    def __str__(self) -> str:
        """Return the message, what is not printable in it escaped."""
        return printable(super().__str__())


class LayerError(PellucidError):
    """A layer that does not fit what comes in: which layer, by its path, and the shape."""

    def __init__(self, path: str, shape: object, why: str) -> None:
        super().__init__(f"{path}: {why} (its input is {shape})")
        self.path, self.shape, self.why = path, shape, why


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the known name closest to `word`, or `""` when none is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
