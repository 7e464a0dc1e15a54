"""The errors that Pellucid raises on purpose."""

import difflib
from collections.abc import Iterable

from pellucid.synonyms import OTHERS
from pellucid.text import printable


class PellucidError(Exception):
    """An error that the user can correct: one line that says what is wrong, where, and what to do.

    Names from data may be part of the message unescaped: str() makes them printable.
    """

    def __str__(self) -> str:
        """Return the message, what is not printable in it escaped."""
        return printable(super().__str__())


class LayerError(PellucidError):
    """A layer whose input shape does not fit: its path, and the shape."""

    def __init__(self, path: str, shape: object, why: str) -> None:
        super().__init__(f"{path}: {why} (its input is {shape})")
        self.path, self.shape, self.why = path, shape, why


class DamagedFileError(PellucidError):
    """A weights file that is missing, not a regular file, or damaged; not one that merely cannot be read now."""


class ArgumentError(PellucidError, TypeError):
    """A call with arguments that the function does not accept; also a TypeError, which Python itself would raise."""


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
