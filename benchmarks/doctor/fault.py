"""What a fault of the bench is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.doctor.settings import SETTINGS, Setting
from pellucid.doctor import Case


@dataclass(frozen=True, eq=False)
class Fault:
    """One thing that is broken on purpose.

    name: of the check that should name it; several faults may share one. about: how it is broken, in a few words.
    make: a setting, which carries the seed, to the case that the doctor gets. settings: the names of those that it can
    be put into, by default all. why: for what reason not into the others. synthetic: whether nothing is broken but the
    history, into which made-up numbers are written; such cases are counted apart.
    """

    name: str
    about: str
    make: Callable[[Setting], Case]
    settings: Sequence[str] = tuple(setting.name for setting in SETTINGS)
    why: str = ""
    synthetic: bool = False
