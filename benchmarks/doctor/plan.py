"""Which trainings the bench makes: every fault in its settings, and healthy ones."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module

from benchmarks.doctor.fault import Fault
from benchmarks.doctor.healthy import HEALTHY

GROUPS = ("units", "data", "training")
LEAST = 10  # cases of each fault
LEAST_HEALTHY = 200


@dataclass(frozen=True)
class Job:
    """One training. fault: the check that should name it, "" for a healthy one. about: how it is broken."""

    fault: str
    about: str
    setting: str
    seed: int

    @property
    def key(self) -> str:
        """What tells it from every other one."""
        return "|".join(map(str, asdict(self).values()))


def faults() -> tuple[Fault, ...]:
    """Return all faults."""
    modules = [import_module(f"benchmarks.doctor.faults.{group}") for group in GROUPS]
    return tuple(fault for module in modules for fault in module.FAULTS)


def synthetic() -> set[tuple[str, str]]:
    """Return check and words of the faults that break a history alone."""
    return {(fault.name, fault.about) for fault in faults() if fault.synthetic}


def planned(known: Sequence[Fault], seeds: int, first: int, healthy: int | None = None, every: int = 1) -> list[Job]:
    """Return the jobs: each fault as often as it has settings times `seeds`, and LEAST times at least.

    Each of them has a seed of its own, from `first` on; the settings take turns.
    healthy: how many trainings without a fault; None for as many as with one, and LEAST_HEALTHY at least. every: keep
    each `every`-th of the trainings with a fault.
    """
    broken = [
        Job(fault.name, fault.about, setting, seed)
        for number, fault in enumerate(known)
        for setting, seed in _pairs(fault.settings, max(seeds * len(fault.settings), LEAST), first, number)
    ][::every]
    wanted = max(len(broken), LEAST_HEALTHY) if healthy is None else healthy
    names = [setting.name for setting in HEALTHY]
    return broken + [Job("", "", setting, seed) for setting, seed in _pairs(names, wanted, first)]


def _pairs(settings: Sequence[str], count: int, first: int, turn: int = 0) -> list[tuple[str, int]]:
    """Return `count` pairs of setting and seed: the settings in turn, each time with the next seed.

    turn: of which setting the round begins, so that what is left of a round is not always the same.
    """
    return [(settings[(k + turn) % len(settings)], first + k) for k in range(count)]


def chosen(known: Sequence[Fault], only: Collection[str]) -> list[Fault]:
    """Return the faults of some checks, all of them without names."""
    return [fault for fault in known if not only or fault.name in only]
