"""The class that `--target` names."""

from collections.abc import Sequence


def class_number(asked: str, classes: Sequence[str], besides: str = "") -> int:
    """Return the index of the class with that name or index; besides: text to add to the error message."""
    from pellucid.errors import PellucidError, nearest

    if asked in classes:
        return classes.index(asked)
    if asked.isdecimal() and int(asked) < len(classes):
        return int(asked)
    hint = ("" if asked.isdecimal() else nearest(asked, classes)) or f"; it knows {', '.join(classes):.80}"
    raise PellucidError(f"--target: the model has no class {asked!r}{hint}{besides}")
