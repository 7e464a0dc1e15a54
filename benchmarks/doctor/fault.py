"""The definition of a fault of the benchmark."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.doctor.settings import SETTINGS, Setting
from pellucid.doctor import Case


@dataclass(frozen=True, eq=False)
class Fault:
    """A fault that is injected into a training.

    name: the check that should report the fault; more than one fault may share a check. about: a short description.
    make: a function that returns the faulty case for a setting, which has the seed. settings: the names of the settings
    that the fault can be injected into, by default all. exclusion_reason: why it is not injected into the others.
    """

    name: str
    about: str
    make: Callable[[Setting], Case]
    settings: Sequence[str] = tuple(setting.name for setting in SETTINGS)
    exclusion_reason: str = ""
