"""The mistakes of the list as code, by task; those of the unopened half are in the files `unopened_*.py`."""

from collections.abc import Mapping
from importlib import import_module

from benchmarks.causes.fit import Case
from benchmarks.causes.listed import listed_mistakes, unopened_ids

UNOPENED_PREFIX = "unopened_"


def cases(with_opened: bool = True, with_unopened: bool = False) -> Mapping[str, Case]:
    """Return the cases of the opened half, and with `with_unopened` those of the unopened half, by the list's ids."""
    selected: dict[str, Case] = {}
    for entry in listed_mistakes():
        is_unopened = entry.id in unopened_ids()
        if with_unopened if is_unopened else with_opened:
            module = import_module(f"{__name__}.{UNOPENED_PREFIX if is_unopened else ''}{entry.task}")
            if entry.id in module.CASES:
                selected[entry.id] = module.CASES[entry.id]
    return selected
