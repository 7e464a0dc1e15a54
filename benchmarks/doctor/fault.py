"""The definition of a fault of the benchmark."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.doctor.settings import SETTINGS, Setting
from pellucid.doctor import Case


@dataclass(frozen=True, eq=False)
class Fault:
    """A fault that is put into a training.

    name: the check that should report the fault; several faults may share one. about: a short description. make: a
    function that returns the faulty case for a training configuration, which has the seed. settings: the names of the
    training configurations that the fault can be put into, by default all. exclusion_reason: why it cannot be put into
    the others. synthetic: whether only the history is faulty, with made-up numbers; such cases are counted separately.
    """

    name: str
    about: str
    make: Callable[[Setting], Case]
    settings: Sequence[str] = tuple(setting.name for setting in SETTINGS)
    exclusion_reason: str = ""
    synthetic: bool = False
