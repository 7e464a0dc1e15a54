"""A worker of a sweep: a process that claims and trains the unfinished runs, one after another.

It also chooses the settings of the next trial, and the runs to prune; for Optuna, trials become a study in memory.

`python -m pellucid.tuning.worker DIR` writes a checkpoint and ends when its standard input ends, as on SIGTERM, so the
workers also end when their launcher is stopped or killed.
"""

import argparse
import math
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.base.errors import PellucidError, is_out_of_memory
from pellucid.base.files import make_folder, write_atomically
from pellucid.base.plugins import run_file
from pellucid.base.text import note
from pellucid.recipe.job import load_data, train_in
from pellucid.recipe.material import Material
from pellucid.recipe.recipe import Recipe
from pellucid.recipe.toml import toml_value
from pellucid.run.folder import RunFolder
from pellucid.run.history import Row
from pellucid.task import task_of
from pellucid.training.callbacks import Callback, Training
from pellucid.training.checkpoint import SavedState
from pellucid.training.device import usable_device
from pellucid.tuning.folder import Outcome, TrialRun, TuningFolder, unfinished_runs
from pellucid.tuning.plan import TuningPlan
from pellucid.tuning.results import TuningResult, compared_column, outcome_of, read_results, values_by_epoch
from pellucid.tuning.space import ValueList, Values

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial, TrialState


READ_SECONDS = 2.0  # seconds between two reads of the other runs, while one is trained


def trial_settings(number: int, plan: TuningPlan, results: TuningResult) -> dict[str, Any]:
    """Return the settings of a trial; results: the trials so far, which only the sampler "tpe" uses.

    Grids and random draws depend only on `number`, and so does the seed of "tpe".
    """
    if plan.sampler == "grid":
        return plan.combination(number - 1)
    if plan.sampler == "random":
        rng = random.Random(f"trial {number}")
        return {key: values.value_at(rng.random()) for key, values in plan.space.items()}
    from optuna.samplers import TPESampler

    with _without_optuna_logs():
        study = optuna_study(results, TPESampler(seed=number, constant_liar=True))
        params = study.ask({key: _distribution(values) for key, values in plan.space.items()}).params
    return {key: _from_optuna(values, params[key]) for key, values in plan.space.items()}


# In memory, since the folder of the sweep is the database. In Optuna's journal (5.0), the trial of a killed worker
# stays "running" forever, and a lock that it held stops all others for 30 s.
def optuna_study(results: TuningResult, sampler: Any = None) -> "Study":
    """Return the trials of a sweep as a study of Optuna in memory, for its samplers and its plots."""
    from optuna import create_study
    from optuna.trial import TrialState, create_trial

    with _without_optuna_logs():
        study = create_study(direction="minimize" if results.lower else "maximize", sampler=sampler)
        distributions = {key: _distribution(values) for key, values in results.plan.space.items()}
        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        for trial in results.trials:
            state = states.get(trial.state or "", TrialState.RUNNING)
            rows = trial.runs[0].rows if trial.state == "pruned" else ()
            study.add_trial(create_trial(
                state=state,
                value=trial.value,
                params={key: _to_optuna(results.plan.space[key], value) for key, value in trial.settings.items()},
                distributions=distributions,
                intermediate_values=values_by_epoch(
                    rows, "" if results.first_outcome is None else results.first_outcome.figure
                ),
            ))  # fmt: skip
    return study


class MedianRule:
    """The rule that prunes runs: Optuna's median pruner, which compares a run with the complete runs of a sweep."""

    def __init__(self, results: TuningResult) -> None:
        self.results = results
        self.last_read_time = -math.inf  # when the other runs were read
        # By the folder of each complete run: its values by epoch.
        self.curves_by_run = dict[str, Mapping[int, float]]()

    def should_prune(self, rows: Sequence[Mapping[str, Any]], merits: Sequence[Any]) -> bool:
        """Return whether a run with the history `rows` so far is to end; merits: the task's main metrics."""
        from optuna import create_study
        from optuna.pruners import MedianPruner
        from optuna.trial import TrialState

        column, lower = compared_column(rows[-1], merits)
        own_values = values_by_epoch(rows, column)
        if rows[-1]["epoch"] not in own_values:
            return False
        self._read_runs(column)
        with _without_optuna_logs():
            study = create_study(direction="minimize" if lower else "maximize")
            for values in self.curves_by_run.values():
                if values:
                    study.add_trial(_optuna_trial(values, TrialState.COMPLETE))
            return MedianPruner().prune(study, _optuna_trial(own_values, TrialState.RUNNING))

    def _read_runs(self, column: str) -> None:
        """Read the histories of runs that have become complete, at most once in READ_SECONDS."""
        if time.monotonic() - self.last_read_time < READ_SECONDS:
            return
        self.last_read_time = time.monotonic()
        results = read_results(self.results.folder, self.results.plan)
        for run in (run for trial in results.trials for run in trial.runs):
            if str(run.path) not in self.curves_by_run and run.outcome is not None and run.outcome.state == "complete":
                self.curves_by_run[str(run.path)] = values_by_epoch(run.rows, column)


def _optuna_trial(values: Mapping[int, float], state: "TrialState") -> "FrozenTrial":
    from optuna.trial import TrialState, create_trial

    value = values[max(values)] if state == TrialState.COMPLETE else None
    return create_trial(state=state, value=value, intermediate_values=dict(values))


def _distribution(values: Values) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, ValueList):
        return CategoricalDistribution([toml_value(value) for value in values.values])
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


def _to_optuna(values: Values, value: Any) -> Any:
    """Return a recipe's value as a parameter of Optuna, see `_distribution`."""
    return toml_value(value) if isinstance(values, ValueList) else value


def _from_optuna(values: Values, parameter: Any) -> Any:
    """Return the recipe's value for a parameter of Optuna."""
    if isinstance(values, ValueList):
        return next(value for value in values.values if toml_value(value) == parameter)
    return values.round_value(parameter)


@contextmanager
def _without_optuna_logs() -> Iterator[None]:
    """Silence Optuna's log of each trial, and its warnings about experimental features; restore both at the end."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


IDLE_SECONDS = 0.5  # seconds between two searches for an unclaimed run
PRUNED_MESSAGE = "pruned: worse than the median of the other runs"


class Pruning(Callback):
    """Ends a training that is worse than the median of the complete runs after the same number of epochs."""

    def __init__(self, rule: MedianRule) -> None:
        self.rule = rule

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Stop the training if it is worse, except after the last epoch."""
        rows = training.history.rows
        if training.epoch < training.epochs and self.rule.should_prune(rows, task_of(training.model).merits):
            training.stop = f"{PRUNED_MESSAGE} after {training.epoch} epochs"


class Worker:
    """A worker that trains runs of a sweep. data: the root folder of the data sets."""

    def __init__(self, folder: TuningFolder, data: str | os.PathLike[str] | None = None) -> None:
        self.folder, self.data = folder, data
        self.plan = folder.plan()
        self.finished_trials = set[int]()  # numbers of finished trials
        self.loaded_tables: Any = None  # the tables of a recipe on which the loaded data depend
        self.material: Material[Any] | None = None  # the loaded data
        self.median_rule = MedianRule(read_results(folder, self.plan))

    def work(self, wait: bool = True) -> None:
        """Train until every run is finished.

        wait: whether to wait while other processes train the last runs, to resume the run of a process that is killed.
        """
        while True:
            while self._train_next():
                pass
            if not wait or next(unfinished_runs(self.folder, self.plan, self.finished_trials), None) is None:
                return
            time.sleep(IDLE_SECONDS)

    def _train_next(self) -> bool:
        """Claim and train the next run; return False if there is none."""
        for run in unfinished_runs(self.folder, self.plan, self.finished_trials):
            settings = self.folder.choose_settings(
                self.plan, run.number, lambda run=run: self._choose_settings(run.number)
            )
            make_folder(run.path)
            claim = run.claim
            if not claim.take():
                continue
            try:
                if run.outcome is None:  # another process may have finished it in the meantime
                    run.finish(self._train(run, settings))
                    return True
            finally:
                claim.release()
        return False

    def _choose_settings(self, number: int) -> dict[str, Any]:
        return trial_settings(number, self.plan, read_results(self.folder, self.plan))

    def _train(self, run: TrialRun, settings: Mapping[str, Any]) -> Outcome:
        """Train or resume a run, and return its outcome, which may be an error.

        Raises PellucidError if the data or the device are missing on this machine, which is not an error of the run.
        """
        recipe = self.plan.recipe(settings, run.seed)
        usable_device(recipe.recipe.device)
        material = self._material(recipe)
        if not run.count_attempt(_checkpoint_step(RunFolder(run.path))):
            return Outcome("failed", error="its process was ended again and again, perhaps for lack of memory")
        try:
            return self._run_training(run, recipe, material)
        except KeyboardInterrupt:
            run.forget_attempts()
            raise
        except PellucidError as error:
            return Outcome("failed", error=" ".join(str(error).split()))
        except Exception as error:  # an error in one trial must not end the others
            reason = "not enough memory" if is_out_of_memory(error) else f"{type(error).__name__}: {error}"
            return Outcome("failed", error=" ".join(reason.split())[:500])

    def _run_training(self, run: TrialRun, recipe: Recipe, material: Material[Any]) -> Outcome:
        folder = RunFolder(run.path)
        if not folder.recipe.exists():
            write_atomically(folder.recipe, recipe.to_toml().encode())
        callbacks = [Pruning(self.median_rule)] if self.plan.prune else []
        result = train_in(run.path, material, progress=False, data=self.data, callbacks=callbacks)
        state = SavedState.find(folder)
        is_pruned = state is not None and state.progress["stop"].startswith(PRUNED_MESSAGE)
        return outcome_of(run, task_of(result.model).merits, recipe.train.monitor, is_pruned)

    def _material(self, recipe: Recipe) -> Material[Any]:
        """Return the data of a recipe; those of the previous run are reused if they are the same."""
        tables = (recipe.data, recipe.recipe.seed, recipe.network, recipe.objective, recipe.loss)
        if self.material is None or self.loaded_tables != tables:
            self.material = None  # frees the memory before other data are loaded
            self.loaded_tables, self.material = tables, load_data(recipe, self.data)
        return self.material


def _checkpoint_step(folder: RunFolder) -> int:
    """Return the step of a run's last checkpoint; 0 if none can be read."""
    try:
        return SavedState(folder.last).progress["step"] if folder.has_checkpoint else 0
    except PellucidError:
        return 0


def stop_with_launcher() -> None:
    """Send SIGTERM to this process when its standard input ends, which its launcher keeps open until then."""

    def wait_for_end_of_input() -> None:
        while os.read(0, 1024):  # not sys.stdin, whose lock the interpreter needs at exit
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_for_end_of_input, daemon=True).start()


def main(words: Sequence[str]) -> int:
    """Run a worker in this process, and return the exit code."""
    parser = argparse.ArgumentParser(prog="pellucid.tuning.worker")
    parser.add_argument("folder")
    parser.add_argument("--data")
    parser.add_argument("--custom", action="append", default=[])
    args = parser.parse_args(words)
    stop_with_launcher()
    try:
        for file in args.custom:
            run_file(Path(file))
        Worker(TuningFolder(args.folder), args.data).work()
    except KeyboardInterrupt as interrupt:
        note(str(interrupt))
        return 130
    except PellucidError as error:
        note(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
