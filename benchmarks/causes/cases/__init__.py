"""The mistakes of the list as code, by task; those of the unopened half are in the files `unopened_*.py`.

The files `second_*.py` have the mistakes of the second list, and so on.
"""

from collections.abc import Mapping
from importlib import import_module

from benchmarks.causes.fit import Case
from benchmarks.causes.listed import later_mistakes, listed_mistakes, unopened_ids

UNOPENED_PREFIX, LATER_SUFFIXES = "unopened_", ("data", "settings")


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


def later_cases(list_name: str) -> Mapping[str, Case]:
    """Return the cases of one of LATER_LISTS, by its ids."""
    modules = [import_module(f"{__name__}.{list_name}_{suffix}") for suffix in LATER_SUFFIXES]
    known = {id: case for module in modules for id, case in module.CASES.items()}
    return {entry.id: known[entry.id] for entry in later_mistakes(list_name)}
