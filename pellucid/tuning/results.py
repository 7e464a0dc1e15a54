"""The results of the runs and trials of a sweep."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.run.history import History
from pellucid.run.records import read_object
from pellucid.task import Merit
from pellucid.tuning.folder import Outcome, RunState, TrialRun, TuningFolder, trial_state
from pellucid.tuning.plan import TuningPlan

LOSS = Merit("loss", "loss", "", is_error=True)  # used if the histories contain no figure of merit of the task


@dataclass(frozen=True)
class TunedRun:
    """A finished or unfinished run; outcome: None while it is unfinished."""

    seed: int
    path: Path
    outcome: Outcome | None

    @cached_property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The rows of its history; empty before the first epoch."""
        try:
            return History.read(self.path).rows
        except PellucidError:
            return ()

    @cached_property
    def results(self) -> dict[str, Any]:
        """The results on the test images; {} if there are none."""
        return read_object(self.path / "results.json", "remove it") or {}

    def to_json(self) -> dict[str, Any]:
        """Return the run without its history as JSON values."""
        outcome = self.outcome
        return {
            **{"seed": self.seed, "run": str(self.path), "state": None if outcome is None else outcome.state},
            **{
                "value": outcome and outcome.value,
                "epoch": outcome and outcome.epoch,
                "error": outcome and outcome.error,
            },
            "test": self.results,
        }


@dataclass(frozen=True)
class TunedTrial:
    """A finished or unfinished trial: its settings and its runs, one for each seed."""

    number: int
    settings: Mapping[str, Any]
    runs: Sequence[TunedRun]

    @property
    def state(self) -> RunState | None:
        """The state of the trial; None while it is unfinished."""
        return trial_state([run.outcome for run in self.runs])

    @property
    def values(self) -> list[float]:
        """The values of its complete runs."""
        return [
            run.outcome.value
            for run in self.runs
            if run.outcome is not None and run.outcome.state == "complete" and run.outcome.value is not None
        ]

    @property
    def value(self) -> float | None:
        """The mean value of its runs; None unless the trial is complete."""
        values = self.values
        return math.fsum(values) / len(values) if self.state == "complete" and values else None

    @property
    def error(self) -> str:
        """The error of the first run that failed, or ""."""
        return next((run.outcome.error for run in self.runs if run.outcome is not None and run.outcome.error), "")

    def to_json(self) -> dict[str, Any]:
        """Return the trial as JSON values."""
        values = self.values
        return {
            **{"number": self.number, "settings": dict(self.settings), "state": self.state, "value": self.value},
            **{"min": min(values, default=None), "max": max(values, default=None)},
            "runs": [run.to_json() for run in self.runs],
        }


@dataclass(frozen=True)
class TuningResult:
    """The results of a sweep so far: its folder, its plan, and the trials whose settings are chosen."""

    folder: TuningFolder
    plan: TuningPlan
    trials: Sequence[TunedTrial]

    @property
    def page(self) -> Path:
        """The page with all runs."""
        return self.folder.page

    @property
    def first_outcome(self) -> Outcome | None:
        """An outcome with the column that is compared, and its direction; None before the first result."""
        outcomes = (run.outcome for trial in self.trials for run in trial.runs)
        return next((outcome for outcome in outcomes if outcome is not None and outcome.figure), None)

    @property
    def lower(self) -> bool:
        """Whether smaller values are better."""
        return self.first_outcome is not None and self.first_outcome.lower

    @cached_property
    def ranked(self) -> list[TunedTrial]:
        """The complete trials, the best first."""
        complete_trials = [trial for trial in self.trials if trial.value is not None]
        return sorted(complete_trials, key=lambda trial: (trial.value or 0.0) * (1 if self.lower else -1))

    @property
    def best(self) -> TunedTrial | None:
        """The best trial; None before the first complete one."""
        return self.ranked[0] if self.ranked else None

    @property
    def counts(self) -> dict[str, int]:
        """The number of trials by state: complete, pruned, failed or unfinished."""
        states = [trial.state for trial in self.trials]
        counts = {state: states.count(state) for state in ("complete", "pruned", "failed")}
        return {**counts, "unfinished": self.plan.trials - sum(counts.values())}

    @property
    def is_finished(self) -> bool:
        """Whether all trials are finished."""
        return self.counts["unfinished"] == 0

    def to_json(self) -> dict[str, Any]:
        """Return the results without histories as JSON values."""
        plan, best = self.plan, self.best
        return {
            **{"recipe": plan.name, "folder": str(self.folder.path), "page": str(self.page)},
            "over": {key: str(values) for key, values in plan.space.items()},
            **{"seeds": list(plan.seeds), "sampler": plan.sampler, "prune": plan.prune, "threads": plan.threads},
            **{
                "figure": self.first_outcome and self.first_outcome.figure,
                "lower_is_better": self.lower,
                "counts": self.counts,
            },
            "best": None if best is None else best.to_json(),
            "trials": [trial.to_json() for trial in self.trials],
        }


def read_results(folder: TuningFolder, plan: TuningPlan) -> TuningResult:
    """Return the results of a sweep so far."""
    return TuningResult(folder, plan, [*_read_trials(folder, plan)])


def _read_trials(folder: TuningFolder, plan: TuningPlan) -> Iterator[TunedTrial]:
    for number in range(1, plan.trials + 1):
        settings = folder.settings(plan, number)
        if settings is not None:
            runs = [folder.run(number, seed) for seed in plan.seeds]
            yield TunedTrial(number, settings, [TunedRun(run.seed, run.path, run.outcome) for run in runs])


def outcome_of(run: TrialRun, merits: Sequence[Merit], monitor: str, is_pruned: bool) -> Outcome:
    """Return the outcome of a run whose training ended.

    merits: the task's figures of merit, the most important first. monitor: the column that selected the best weights.
    """
    rows = History.read(run.path).rows
    column, lower = compared_column(rows[-1], merits)
    best_row = _best_row(rows, monitor)
    value = best_row.get(column)
    if value is None:
        error = f"it recorded no finite {column}" if column else "it recorded no figure on validation images"
        return Outcome("failed", column, lower, error=error)
    return Outcome("pruned" if is_pruned else "complete", column, lower, value, best_row["epoch"])


def compared_column(row: Mapping[str, Any], merits: Sequence[Merit]) -> tuple[str, bool]:
    """Return the column of a history that a sweep compares, "" if it has none, and whether smaller is better."""
    merit = next((candidate for candidate in (*merits, LOSS) if f"val_{candidate.name}" in row), None)
    return ("", False) if merit is None else (f"val_{merit.name}", merit.is_error)


def _best_row(rows: Sequence[Mapping[str, Any]], monitor: str) -> Mapping[str, Any]:
    """Return the row of the epoch with a run's best weights: the first with the best value of `monitor`."""
    column = "val_accuracy" if monitor == "auto" and "val_accuracy" in rows[-1] else monitor.replace("auto", "val_loss")
    sign = 1 if column.endswith("loss") else -1
    return min(rows, key=lambda row: math.inf if row.get(column) is None else sign * row[column])


def values_by_epoch(rows: Sequence[Mapping[str, Any]], column: str) -> dict[int, float]:
    """Return the values of a column of a history by epoch, without the missing ones."""
    return {row["epoch"]: row[column] for row in rows if row.get(column) is not None}
