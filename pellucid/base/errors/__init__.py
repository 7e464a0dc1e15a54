"""Exceptions, and suggestions for misspelled names."""

import difflib
from collections.abc import Iterable

from pellucid.base.errors.synonyms import SYNONYMS
from pellucid.base.text import printable


class PellucidError(Exception):
    """An error that the user can correct; the message is one line: what is wrong, where, and what to do.

    The message may contain unescaped names from data: str() escapes unprintable characters.
    """

    def __str__(self) -> str:
        """Return the message with unprintable characters escaped."""
        return printable(super().__str__())


class LayerError(PellucidError):
    """An error of one layer of a network, usually an invalid input shape, with the layer's path and the reason."""

    def __init__(self, path: str, shape: object, why: str) -> None:
        super().__init__(f"{path}: {why} (its input is {shape})")
        self.path, self.shape, self.why = path, shape, why


class DamagedFileError(PellucidError):
    """A weights file is missing, damaged or not a regular file; not raised if reading a file fails temporarily."""


class ArgumentError(PellucidError, TypeError):
    """A call with invalid arguments; also a TypeError, the exception that Python raises for such calls."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of Python or PyTorch means that a device does not have enough memory."""
    phrases = ("can't allocate memory", "out of memory", "not enough memory")  # in the messages of PyTorch
    is_torch_error = isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in phrases)
    return is_torch_error or isinstance(error, MemoryError)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the known name closest to `word`, or `""` when none is close."""
    nearest_name = closest(word, known)
    return f"; did you mean {nearest_name!r}?" if nearest_name else ""


def closest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """Return the known name to which `word` is most similar; None if none is similar.

    `word` is also compared with the synonyms of the names in other libraries. Case is ignored. cutoff: the minimum
    similarity, from 0 to 1, by difflib.
    """
    names, word = list(known), word.lower()
    synonyms = {synonym: name for name in reversed(names) for synonym in SYNONYMS.get(name.lower(), ())}
    # Short synonyms such as "bs" must match exactly, because they are similar to many words.
    candidates = {synonym: name for synonym, name in synonyms.items() if len(synonym) > 3 or synonym == word}
    candidates |= {name.lower(): name for name in reversed(names)}
    close_names = difflib.get_close_matches(word, candidates, n=1, cutoff=cutoff)
    return candidates[close_names[0]] if close_names else None
