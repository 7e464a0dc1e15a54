"""The errors that Pellucid raises on purpose."""

import difflib
from collections.abc import Iterable


class PellucidError(Exception):
    """A mistake that the user can mend: one line that says what is wrong, where, and what to do."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the known name closest to `word`, or `""` when none is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
