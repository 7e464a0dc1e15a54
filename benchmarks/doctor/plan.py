"""The trainings of the benchmark: every fault in its settings, and healthy trainings."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module

from benchmarks.doctor.fault import Fault
from benchmarks.doctor.healthy import HEALTHY

FAULT_MODULES = ("units", "data", "training")
MIN_CASES_PER_FAULT = 10
MIN_HEALTHY = 200


@dataclass(frozen=True)
class Job:
    """One training. fault: the check that should report it, "" if healthy. about: the description of the fault."""

    fault: str
    about: str
    setting: str
    seed: int

    @property
    def key(self) -> str:
        """Unique key of the job."""
        return "|".join(map(str, asdict(self).values()))


def faults() -> tuple[Fault, ...]:
    """Return all faults."""
    modules = [import_module(f"benchmarks.doctor.faults.{group}") for group in FAULT_MODULES]
    return tuple(fault for module in modules for fault in module.FAULTS)


def plan_jobs(
    all_faults: Sequence[Fault], seeds: int, first_seed: int, healthy: int | None = None, every: int = 1
) -> list[Job]:
    """Return the jobs: for each fault, `seeds` jobs per setting and at least MIN_CASES_PER_FAULT in all.

    The seeds of a fault's jobs count up from `first_seed`; its settings alternate.
    healthy: the number of trainings without a fault; None means as many as with a fault, and at least MIN_HEALTHY.
    every: keep only each `every`-th of the trainings with a fault.
    """
    faulty_jobs = [
        Job(fault.name, fault.about, setting, seed)
        for index, fault in enumerate(all_faults)
        for setting, seed in _pairs(
            fault.settings, max(seeds * len(fault.settings), MIN_CASES_PER_FAULT), first_seed, index
        )
    ][::every]
    n_healthy = max(len(faulty_jobs), MIN_HEALTHY) if healthy is None else healthy
    names = [setting.name for setting in HEALTHY]
    return faulty_jobs + [Job("", "", setting, seed) for setting, seed in _pairs(names, n_healthy, first_seed)]


def _pairs(settings: Sequence[str], count: int, first_seed: int, offset: int = 0) -> list[tuple[str, int]]:
    """Return `count` pairs of setting and seed: the settings alternate, and the seeds count up from `first_seed`.

    offset: the index of the first setting; different offsets vary the settings of an incomplete last cycle.
    """
    return [(settings[(k + offset) % len(settings)], first_seed + k) for k in range(count)]


def select_faults(all_faults: Sequence[Fault], only: Collection[str]) -> list[Fault]:
    """Return the faults with the given names; all of them if `only` is empty."""
    return [fault for fault in all_faults if not only or fault.name in only]
