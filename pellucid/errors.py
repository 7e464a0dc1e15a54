"""The errors that Pellucid raises on purpose."""

import difflib
from collections.abc import Iterable

from pellucid.synonyms import OTHERS
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


class DamagedFileError(PellucidError):
    """A weights file that is missing, not a regular file, or damaged; one that cannot be read now is none of these."""


class ArgumentError(PellucidError, TypeError):
    """A call with arguments that its function does not take: also the TypeError that Python itself would raise."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the known name closest to `word`, or `""` when none is close."""
    close = closest(word, known)
    return f"; did you mean {close!r}?" if close else ""


def closest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """Return the known name that is closest to `word`, in any case of letters, or that other libraries call so."""
    names, word = list(known), word.lower()
    others = {other: name for name in reversed(names) for other in OTHERS.get(name.lower(), ())}
    spelled = {other: name for other, name in others.items() if len(other) > 3 or other == word}  # "bs" is near much
    spelled |= {name.lower(): name for name in reversed(names)}
    close = difflib.get_close_matches(word, spelled, n=1, cutoff=cutoff)
    return spelled[close[0]] if close else None
