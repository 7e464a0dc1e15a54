"""A worker of a sweep: a process that trains runs, one after another, until none is left that it may take.

`python -m pellucid.tuning.worker DIR` ends when its standard input ends, after a checkpoint, as on SIGTERM: a launcher
that is stopped or killed so takes its workers with it.
"""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError, is_out_of_memory
from pellucid.files import make_folder, write_atomically
from pellucid.plugins import run_file
from pellucid.recipe.job import load_data, train_in
from pellucid.recipe.material import Material
from pellucid.recipe.recipe import Recipe
from pellucid.run.folder import RunFolder
from pellucid.run.history import Row
from pellucid.task import task_of
from pellucid.text import note
from pellucid.training.callbacks import Callback, Training
from pellucid.training.checkpoint import SavedState
from pellucid.training.device import usable_device
from pellucid.tuning.folder import Outcome, TrialRun, TuningFolder, unfinished
from pellucid.tuning.results import outcome_of, read_results
from pellucid.tuning.search import MedianRule, settings_of

IDLE = 0.5  # seconds between two looks for a run to take up
PRUNED = "pruned: worse than the median of the other runs"


class Pruning(Callback):
    """Ends a training that is worse than the median of the complete runs after the same number of epochs."""

    def __init__(self, rule: MedianRule) -> None:
        self.rule = rule

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Look at the epoch, unless it is the last one."""
        rows = training.history.rows
        if training.epoch < training.epochs and self.rule.prunes(rows, task_of(training.model).merits):
            training.stop = f"{PRUNED} after {training.epoch} epochs"


class Worker:
    """Trains runs of a sweep. data: the root of the data sets."""

    def __init__(self, folder: TuningFolder, data: str | os.PathLike[str] | None = None) -> None:
        self.folder, self.data = folder, data
        self.plan = folder.plan()
        self.done = set[int]()  # numbers of finished trials
        self.loaded: tuple[Any, Material[Any]] | None = None  # the tables that the data depend on, and the data
        self.rule = MedianRule(read_results(folder, self.plan))

    def work(self, wait: bool = True) -> None:
        """Train until every run is finished.

        wait: stay while other processes train the last ones, to take up those of a process that is killed.
        """
        while True:
            while self._next():
                pass
            if not wait or next(unfinished(self.folder, self.plan, self.done), None) is None:
                return
            time.sleep(IDLE)

    def _next(self) -> bool:
        """Take and train the next run; return False if there is none."""
        for run in unfinished(self.folder, self.plan, self.done):
            settings = self.folder.choose(run.number, lambda run=run: self._settings(run.number))
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

    def _settings(self, number: int) -> dict[str, Any]:
        return settings_of(number, self.plan, read_results(self.folder, self.plan))

    def _train(self, run: TrialRun, settings: Mapping[str, Any]) -> Outcome:
        """Train a run, or resume it, and return what came of it; an error is an outcome too.

        Raises PellucidError for what is no fault of the run: the data or the device are missing on this machine.
        """
        recipe = self.plan.recipe(settings, run.seed)
        usable_device(recipe.recipe.device)
        material = self._material(recipe)
        if not run.attempt(_step(RunFolder(run.path))):
            return Outcome("failed", error="its process was ended again and again, perhaps for lack of memory")
        try:
            return self._trained(run, recipe, material)
        except KeyboardInterrupt:
            run.forget_attempts()
            raise
        except PellucidError as error:
            return Outcome("failed", error=" ".join(str(error).split()))
        except Exception as error:  # a fault of one trial must not end the others
            what = "not enough memory" if is_out_of_memory(error) else f"{type(error).__name__}: {error}"
            return Outcome("failed", error=" ".join(what.split())[:500])

    def _trained(self, run: TrialRun, recipe: Recipe, material: Material[Any]) -> Outcome:
        folder = RunFolder(run.path)
        if not folder.recipe.exists():
            write_atomically(folder.recipe, recipe.to_toml().encode())
        callbacks = [Pruning(self.rule)] if self.plan.prune else []
        trained = train_in(run.path, material, progress=False, data=self.data, callbacks=callbacks)
        state = SavedState.find(folder)
        pruned = state is not None and state.progress["stop"].startswith(PRUNED)
        return outcome_of(run, task_of(trained.model).merits, recipe.train.monitor, pruned)

    def _material(self, recipe: Recipe) -> Material[Any]:
        """Return the data of a recipe; those of the run before, if they are the same."""
        tables = (recipe.data, recipe.recipe.seed, recipe.network, recipe.objective, recipe.loss)
        if self.loaded is None or self.loaded[0] != tables:
            self.loaded = None  # frees the memory first
            self.loaded = tables, load_data(recipe, self.data)
        return self.loaded[1]


def _step(folder: RunFolder) -> int:
    """Return the step of a run's last checkpoint; 0 if none can be read."""
    try:
        return SavedState(folder.last).progress["step"] if folder.has_checkpoint else 0
    except PellucidError:
        return 0


def stop_with_launcher() -> None:
    """End this process as SIGTERM does when its standard input ends, which its launcher holds open."""

    def wait() -> None:
        while os.read(0, 1024):  # not sys.stdin, whose lock the interpreter needs at its end
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def main(words: Sequence[str]) -> int:
    """Work on a sweep as a process of its own; return the exit code."""
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
    except KeyboardInterrupt as stopped:
        note(str(stopped))
        return 130
    except PellucidError as error:
        note(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
