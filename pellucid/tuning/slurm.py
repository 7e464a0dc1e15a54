"""Workers of a sweep as jobs of SLURM, which submitit submits."""

import math
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

from pellucid.errors import PellucidError
from pellucid.files import make_folder
from pellucid.plugins import run_file
from pellucid.settings.checks import check_known
from pellucid.tuning.folder import TuningFolder

if TYPE_CHECKING:
    from submitit import Job

DEFAULT_TIME = "24:00:00"
OPTIONS = ("partition", "time", "gpus", "memory")
MAX_TIMEOUTS = 100  # after which a job that reaches its time limit is not queued again
_TIME = re.compile(r"(?:(\d+)-)?(\d+):(\d{2})(?::(\d{2}))?").fullmatch


class SlurmWorker:
    """What a job runs: a worker. If SLURM ends the job before it is finished, the job is queued again."""

    def __init__(self, folder: Path, data: str | None, files: Sequence[Path]) -> None:
        self.folder, self.data, self.files = folder, data, files

    def __call__(self) -> None:
        """Train until no run is left that no other process has taken; the last job writes the page."""
        from pellucid.tuning.page import write_results
        from pellucid.tuning.results import read_results
        from pellucid.tuning.worker import Worker

        for file in self.files:
            run_file(file)
        worker = Worker(TuningFolder(self.folder), self.data)
        worker.work(wait=False)
        results = read_results(worker.folder, worker.plan)
        if results.is_finished:
            write_results(results)

    def checkpoint(self) -> Any:
        """Return what submitit queues again: the same, since the runs' own checkpoints hold all progress."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def read_options(text: str) -> dict[str, Any]:
    """Return the options of `--slurm KEY=VALUE,KEY=VALUE`."""
    options: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise PellucidError(f"--slurm: {part!r} is not KEY=VALUE; the keys are {', '.join(OPTIONS)}")
        options[name.strip()] = value.strip()
    return options


def check_slurm(options: Mapping[str, Any]) -> None:
    """Raise PellucidError for invalid options, and where submitit or SLURM is missing."""
    _parameters(options)
    if find_spec("submitit") is None:
        raise PellucidError("jobs of SLURM need submitit: pip install 'pellucid[slurm]'")
    if which("srun") is None:
        raise PellucidError("--slurm: there is no SLURM here (no srun); start the sweep on a machine of the cluster")


def submit(
    folder: TuningFolder,
    jobs: int,
    options: Mapping[str, Any],
    data: str | None = None,
    files: Sequence[Path] = (),
    cluster: str = "slurm",
) -> "list[Job[None]]":
    """Submit an array of `jobs` workers for a sweep, and return submitit's jobs.

    options: partition; time, in minutes or as SLURM writes it, [D-]H:MM[:SS]; gpus for each job; memory such as 16GB.
    cluster: "local" runs the jobs as processes of this machine.
    """
    from submitit import AutoExecutor

    plan, parameters = folder.plan(), _parameters(options)
    limits = {"slurm_max_num_timeout": MAX_TIMEOUTS} if cluster == "slurm" else {}
    executor = AutoExecutor(make_folder(folder.path / "slurm"), cluster=cluster, **limits)
    executor.update_parameters(name=f"{plan.name}-sweep", cpus_per_task=plan.threads, **parameters)
    worker = SlurmWorker(folder.path.resolve(), data, files)
    with executor.batch():
        return [executor.submit(worker) for _ in range(jobs)]


def _parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as submitit's parameters; raises PellucidError for invalid ones."""
    for name in options:
        check_known("--slurm: no option", name, OPTIONS)
    found: dict[str, Any] = {"timeout_min": _minutes(str(options.get("time", DEFAULT_TIME)))}
    if "gpus" in options:
        found["gpus_per_node"] = _count(options["gpus"])
    if "memory" in options:
        found["slurm_mem"] = str(options["memory"])
    if "partition" in options:
        found["slurm_partition"] = str(options["partition"])
    return found


def _minutes(text: str) -> int:
    """Return a time limit in minutes."""
    if text.isdecimal() and int(text) > 0:
        return int(text)
    found = _TIME(text)
    if found is None:
        raise PellucidError(f"--slurm: time={text} is no time; write minutes, or [D-]H:MM[:SS] such as 12:00:00")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return max(1, math.ceil(((days * 24 + hours) * 60 + minutes) + seconds / 60))


def _count(value: Any) -> int:
    if not str(value).isdecimal():
        raise PellucidError(f"--slurm: gpus={value} is no number; give the number of GPUs of each job")
    return int(value)
