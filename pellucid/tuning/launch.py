"""Launching of sweeps: make the plan, start the workers, replace workers that are killed, and write the page."""

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder
from pellucid.base.plugins import files_run, run_file
from pellucid.base.settings.checks import integer
from pellucid.data.loader import usable_processors
from pellucid.recipe.build import build_model
from pellucid.recipe.job import load_data
from pellucid.recipe.material import Material
from pellucid.recipe.recipe import Recipe, load_recipe
from pellucid.training.trackers import check_trackers
from pellucid.tuning.folder import MAX_ATTEMPTS, TuningFolder, unfinished_runs
from pellucid.tuning.page import write_results
from pellucid.tuning.plan import TuningPlan, command_words, make_plan
from pellucid.tuning.results import TuningResult, read_results
from pellucid.tuning.slurm import check_slurm, n_processors, submit

POLL_SECONDS = 0.25  # seconds between two checks of the workers
COUNT_SECONDS = 2.0  # seconds between two reads of the outcomes of all runs, while no worker ends
DATA_TABLES = ("data", "network", "objective", "loss", "start")  # tables of a recipe that must fit the data
PAGE_SECONDS = 60.0  # seconds between two versions of the page
MAX_LINE = 2000  # bytes of the end of a worker's log
USER_ERROR = 2  # exit code of a worker that reports an error of its own, not of a run
WORKER_MODULE = "pellucid.tuning.worker"
ResultsWatcher = Callable[[TuningResult], None]


def tune(
    recipe: str | Path | Recipe,
    over: Mapping[str, Any],
    /,
    *,
    seeds: Sequence[int] | None = None,
    trials: int | None = None,
    sampler: str | None = None,
    prune: bool = False,
    jobs: int = 1,
    out: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    slurm: Mapping[str, Any] | None = None,
    custom: Sequence[str | os.PathLike[str]] = (),
    progress: ResultsWatcher | None = None,
    **overrides: Any,
) -> TuningResult:
    """Train a recipe with many settings: `pellucid.tune("digits", {"optimizer.lr": "1e-4..1e-1:log"}, jobs=2)`.

    recipe, overrides: as for `train`. over: by key, a list of values, or a range: "1e-4..1e-1:log" on a logarithmic
    scale, "16..64", "0..1:5" for five numbers. seeds: the seeds with which each trial is trained, by default that of
    the recipe. trials: the number of trials; by default, every combination is a trial. sampler: how settings are
    chosen, "tpe" (Optuna's, extra `tune`) or "random". prune: end runs that are worse than the median. jobs: the number
    of processes. out: the folder, by default runs/NAME-sweep. If it contains this sweep, stopped or in progress on
    another machine, the sweep is continued. slurm: submit the processes as jobs, with the options of `pellucid sweep
    --slurm`, and do not wait for them. custom: files of Python code that register user-defined parts, which the
    processes run. progress: a function that is called with the results so far.
    Raises PellucidError for errors in the recipe and the values, before anything is trained.
    """
    for file in custom:
        run_file(Path(file))
    if isinstance(recipe, Recipe) and overrides:
        raise PellucidError("a Recipe is complete; give overrides to load_recipe, or give the recipe's name")
    is_complete = isinstance(recipe, Recipe)
    return begin_or_continue(
        recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides),
        over,
        seeds=seeds,
        trials=trials,
        sampler=sampler,
        prune=prune,
        overridden_keys=[*overrides],
        words=() if is_complete else command_words(recipe, overrides),
        out=out,
        jobs=jobs,
        data=data,
        slurm=slurm,
        progress=progress,
    )


def begin_or_continue(
    recipe: Recipe,
    over: Mapping[str, Any],
    *,
    out: str | os.PathLike[str] | None = None,
    jobs: int = 1,
    data: str | os.PathLike[str] | None = None,
    slurm: Mapping[str, Any] | None = None,
    progress: ResultsWatcher | None = None,
    **plan_arguments: Any,
) -> TuningResult:
    """Begin or continue a sweep; plan_arguments: those of `make_plan`; the other arguments are those of `tune`."""
    if slurm is not None:
        check_slurm(slurm)
    folder = TuningFolder(Path("runs") / f"{recipe.name}-sweep" if out is None else out)
    jobs = integer(jobs, "jobs", 1)
    threads = max(1, usable_processors() // jobs) if slurm is None else n_processors(slurm)
    plan = make_plan(recipe, over, threads=threads, **plan_arguments)
    if not folder.exists:
        _check_settings(plan, data)
    folder.begin(plan, may_change_threads=not recipe.recipe.threads)
    return resume_sweep(folder.path, jobs=jobs, data=data, slurm=slurm, progress=progress)


def resume_sweep(
    folder: str | os.PathLike[str],
    *,
    jobs: int = 1,
    data: str | os.PathLike[str] | None = None,
    slurm: Mapping[str, Any] | None = None,
    progress: ResultsWatcher | None = None,
) -> TuningResult:
    """Continue the sweep in a folder, even if other machines work on it too; the arguments are those of `tune`."""
    if slurm is not None:
        check_slurm(slurm)
    tuning_folder = TuningFolder(folder)
    plan = tuning_folder.plan()
    data = None if data is None else os.path.abspath(data)
    if slurm is not None:
        submit(tuning_folder, integer(jobs, "jobs", 1), slurm, data, files_run())
        return write_results(read_results(tuning_folder, plan))
    return _Launcher(tuning_folder, plan, integer(jobs, "jobs", 1), data, progress).run()


def _check_settings(plan: TuningPlan, data: str | os.PathLike[str] | None) -> None:
    """Load the data and build a model for each value, so that errors are raised before the sweep begins."""
    first_settings = {key: values.values_to_check[0] for key, values in plan.space.items()}
    check_trackers(plan.recipe(first_settings).train.log)
    loaded_table: object = None
    material: Material[Any] | None = None
    other_settings = [
        {**first_settings, key: value}
        for key, values in plan.space.items() if key.partition(".")[0] in DATA_TABLES
        for value in values.values_to_check[1:]
    ]  # fmt: skip
    for settings in (first_settings, *other_settings):
        recipe = plan.recipe(settings)
        if material is None or loaded_table != recipe.data:
            loaded_table, material = recipe.data, load_data(recipe, data)
        try:
            build_model(recipe, material.train, data)
        except PellucidError as error:
            changed_key = next((key for key in settings if settings[key] != first_settings[key]), None)
            raise PellucidError(f"--over {changed_key}: {error}" if changed_key else str(error)) from error


class _Launcher:
    """Runs `jobs` workers, and replaces those that end, until the sweep is finished."""

    def __init__(
        self, folder: TuningFolder, plan: TuningPlan, jobs: int, data: str | None, progress: ResultsWatcher | None
    ) -> None:
        self.folder, self.plan, self.jobs, self.progress = folder, plan, jobs, progress
        options = ["--data", data] if data is not None else []
        options += [word for file in files_run() for word in ("--custom", str(file))]
        self.command = [sys.executable, "-m", WORKER_MODULE, str(folder.path), *options]
        self.workers: dict[subprocess.Popen[bytes], Path] = {}
        self.finished_trials = set[int]()
        self.n_unfinished, self.n_crashes, self.n_started = -1, 0, 0
        self.page_written_at = time.monotonic()
        self.counted_at = -math.inf  # time of the last count of unfinished runs
        self.is_outdated = False  # whether a run has ended since the page was written

    def run(self) -> TuningResult:
        """Run workers until every run is finished, and return the results; on Ctrl-C, stop the workers first."""
        try:
            while self._count_unfinished():
                while len(self.workers) < min(self.jobs, self.n_unfinished):
                    self._start_worker()
                time.sleep(POLL_SECONDS)
                self._remove_ended_workers()
                self._refresh_page()
        except KeyboardInterrupt:
            self._stop_workers()
            raise KeyboardInterrupt(
                f"stopped, with every run saved; continue by the same command, or by pellucid sweep --resume "
                f"{self.folder.path}"
            ) from None
        finally:
            self._stop_workers()
        # Another launcher may have added trials in the meantime.
        results = write_results(read_results(self.folder, self.folder.plan()))
        if self.progress is not None:
            self.progress(results)
        return results

    def _count_unfinished(self) -> int:
        """Return the number of runs that no machine has finished; if it has changed, pass the results to `progress`."""
        if time.monotonic() - self.counted_at < COUNT_SECONDS:
            return self.n_unfinished
        self.counted_at = time.monotonic()
        n_unfinished = sum(1 for _ in unfinished_runs(self.folder, self.plan, self.finished_trials))
        if n_unfinished != self.n_unfinished:
            self.n_crashes, self.is_outdated = 0, self.n_unfinished >= 0
            if self.progress is not None:
                self.progress(read_results(self.folder, self.plan))
        self.n_unfinished = n_unfinished
        return n_unfinished

    def _refresh_page(self) -> None:
        """Write the page if a run has ended since the last time, at most once in PAGE_SECONDS."""
        if self.is_outdated and time.monotonic() - self.page_written_at > PAGE_SECONDS:
            write_results(read_results(self.folder, self.folder.plan()))
            self.page_written_at, self.is_outdated = time.monotonic(), False

    def _start_worker(self) -> None:
        """Start a worker in a separate session, so that the terminal's Ctrl-C reaches only this process."""
        self.n_started += 1
        log = make_folder(self.folder.logs) / f"{socket.gethostname()}-{os.getpid()}-{self.n_started}.log"
        with log.open("wb") as file:
            worker = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True
            )
        self.workers[worker] = log

    def _remove_ended_workers(self) -> None:
        """Remove the workers that have ended; raise PellucidError if restarting them would not help."""
        for worker in [worker for worker in self.workers if worker.poll() is not None]:
            log = self.workers.pop(worker)
            self.counted_at = -math.inf
            if worker.stdin is not None:
                worker.stdin.close()
            if worker.returncode in (0, -signal.SIGKILL, -signal.SIGTERM):
                continue
            self.n_crashes += 1
            # A run that crashes its workers fails after MAX_ATTEMPTS; `jobs` such runs may be active at a time.
            if worker.returncode == USER_ERROR or self.n_crashes > 2 * MAX_ATTEMPTS * self.jobs:
                lines = log.read_bytes()[-MAX_LINE:].decode("utf-8", "replace").split("\n")
                last_line = next((line for line in reversed(lines) if line.strip()), f"exit code {worker.returncode}")
                raise PellucidError(f"a worker of {self.folder.path} ended: {last_line}; see {log}")

    def _stop_workers(self) -> None:
        """Stop the workers, which write checkpoints first, and wait for them; a second Ctrl-C kills them."""
        for worker in self.workers:
            if worker.stdin is not None:
                with suppress(OSError):
                    worker.stdin.close()
        try:
            for worker in self.workers:
                worker.wait()
        except KeyboardInterrupt:
            for worker in self.workers:
                worker.kill()
                worker.wait()
        self.workers.clear()
