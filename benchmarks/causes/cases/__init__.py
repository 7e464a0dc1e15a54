"""The mistakes of the list as code, by task; those of the unopened half are in the files `unopened_*.py`."""

from collections.abc import Mapping
from importlib import import_module

from benchmarks.causes.fit import Case
from benchmarks.causes.listed import listed, unopened

PREFIX = "unopened_"


def cases(opened: bool = True, closed: bool = False) -> Mapping[str, Case]:
    """Return the cases of the opened half, and with `closed` those of the unopened half, by the list's ids."""
    found: dict[str, Case] = {}
    for entry in listed():
        hidden = entry.id in unopened()
        if closed if hidden else opened:
            module = import_module(f"{__name__}.{PREFIX if hidden else ''}{entry.task}")
            if entry.id in module.CASES:
                found[entry.id] = module.CASES[entry.id]
    return found
