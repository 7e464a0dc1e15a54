"""Short texts for `repr`, which fit on one screen."""

import reprlib
from dataclasses import fields, is_dataclass
from typing import Any

from pellucid.base.text import plural, shortened, shown

MAX_LINES = 20  # of 24 lines of a terminal
MAX_WIDTH = 120  # characters


class _BriefRepr(reprlib.Repr):
    """The `repr` of the first elements of a value; of tensors, the shape and the type."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxtuple = self.maxlist = self.maxdict = self.maxset = self.maxfrozenset = 4
        self.maxstring = 60

    def repr_Tensor(self, tensor: Any, level: int) -> str:  # noqa: N802 (named after the class)
        """Return the shape and the type: `<tensor of 2 x 10, float32>`."""
        shape = " x ".join(map(str, tensor.shape)) or "1"
        return f"<tensor of {shape}, {str(tensor.dtype).removeprefix('torch.')}>"

    def repr_instance(self, x: Any, level: int) -> str:
        """Return the beginning of the `repr` of any other value."""
        return shown(x)


_BRIEF = _BriefRepr()


def brief_repr(self: Any) -> str:
    """Return a dataclass or a NamedTuple as text with the beginnings of long values, and the shapes of tensors."""
    names = [field.name for field in fields(self)] if is_dataclass(self) else self._fields
    return f"{type(self).__name__}({', '.join(f'{name}={_BRIEF.repr(getattr(self, name))}' for name in names)})"


def screen_repr(self: object) -> str:
    """Return the text of `str` with at most MAX_LINES lines: the first ones and the last one."""
    return fit_to_screen(str(self))


def fit_to_screen(text: str) -> str:
    """Return at most MAX_LINES lines of a text, the first ones and the last one, of at most MAX_WIDTH characters."""
    lines = [shortened(line, MAX_WIDTH) for line in text.split("\n")]
    if len(lines) > MAX_LINES:
        n_hidden = len(lines) - MAX_LINES + 2
        lines[MAX_LINES - 2 : -1] = [f"... {plural(n_hidden - 1, 'more line')}, which print() shows"]
    return "\n".join(lines)
