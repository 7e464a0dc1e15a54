"""Workers of a sweep as SLURM jobs, submitted by submitit."""

import math
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder
from pellucid.base.plugins import run_file
from pellucid.base.settings.checks import check_known
from pellucid.tuning.folder import TuningFolder

if TYPE_CHECKING:
    from submitit import Job

DEFAULT_TIME = "24:00:00"
OPTIONS = ("partition", "time", "cpus", "gpus", "memory")
MAX_TIMEOUTS = 100  # after so many time limits, a job is not requeued
_TIME_MATCHERS = [  # the forms of SLURM's --time
    re.compile(pattern).fullmatch
    for pattern in (
        r"(?P<minutes>\d+)(:(?P<seconds>\d+))?",
        r"(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)",
        r"(?P<days>\d+)-(?P<hours>\d+)(:(?P<minutes>\d+)(:(?P<seconds>\d+))?)?",
    )
]


class SlurmWorker:
    """The function of a job: a worker. A job that SLURM ends before it is finished is requeued."""

    def __init__(self, folder: Path, data: str | None, files: Sequence[Path]) -> None:
        self.folder, self.data, self.files = folder, data, files

    def __call__(self) -> None:
        """Train until every unfinished run is claimed by another process; the last job writes the page."""
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
        """Return the job to requeue: this one unchanged, since the checkpoints of the runs contain all progress."""
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
    """Raise PellucidError for invalid options, and if submitit or SLURM is missing."""
    _submitit_parameters(options)
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

    options: partition; time, in minutes or another form of SLURM's --time; cpus and gpus of each job, cpus by default
    the number of threads of a run; memory such as 16GB.
    cluster: "local" runs the jobs as processes of this machine.
    """
    from submitit import AutoExecutor

    plan, parameters = folder.plan(), _submitit_parameters(options)
    requeue_limit = {"slurm_max_num_timeout": MAX_TIMEOUTS} if cluster == "slurm" else {}
    executor = AutoExecutor(make_folder(folder.path / "slurm"), cluster=cluster, **requeue_limit)
    cpus = n_processors(options) if "cpus" in options else plan.threads
    executor.update_parameters(name=f"{plan.name}-sweep", cpus_per_task=cpus, **parameters)
    worker = SlurmWorker(folder.path.resolve(), data, files)
    with executor.batch():
        return [executor.submit(worker) for _ in range(jobs)]


def _submitit_parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as submitit's parameters; raises PellucidError for invalid ones."""
    for name in options:
        check_known("--slurm: no option", name, OPTIONS)
    parameters: dict[str, Any] = {"timeout_min": _minutes(str(options.get("time", DEFAULT_TIME)))}
    n_processors(options)
    if "gpus" in options:
        parameters["gpus_per_node"] = _positive_integer(options, "gpus")
    if "memory" in options:
        parameters["slurm_mem"] = str(options["memory"])
    if "partition" in options:
        parameters["slurm_partition"] = str(options["partition"])
    return parameters


def _minutes(text: str) -> int:
    """Return a time limit in minutes."""
    match = next(filter(None, (matcher(text) for matcher in _TIME_MATCHERS)), None)
    groups = {} if match is None else {name: int(value) for name, value in match.groupdict().items() if value}
    days, hours, minutes, seconds = (groups.get(name, 0) for name in ("days", "hours", "minutes", "seconds"))
    total = ((days * 24 + hours) * 60 + minutes) + seconds / 60
    if not total:
        raise PellucidError(f"--slurm: time={text} is no time; write minutes, or 12:00:00, or 2-00:00:00 for two days")
    return math.ceil(total)


def n_processors(options: Mapping[str, Any]) -> int:
    """Return the number of processors of each job, by default 1."""
    return _positive_integer(options, "cpus") if "cpus" in options else 1


def _positive_integer(options: Mapping[str, Any], name: str) -> int:
    value = str(options[name])
    if not value.isdecimal() or int(value) < 1:
        raise PellucidError(f"--slurm: {name}={value} is no number from 1; give the {name} of each job")
    return int(value)
