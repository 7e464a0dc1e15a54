"""The choice of the next trial's settings and of runs to prune; for Optuna, trials become a study in memory."""

import math
import random
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pellucid.recipe.toml import toml_value
from pellucid.tuning.plan import TuningPlan
from pellucid.tuning.results import TuningResult, by_epoch, figure_of, read_results
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


def optuna_study(results: TuningResult, sampler: Any = None) -> "Study":
    """Return the trials of a sweep as a study of Optuna in memory, for its samplers and its figures."""
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
                intermediate_values=by_epoch(rows, "" if results.figure is None else results.figure.figure),
            ))  # fmt: skip
    return study


class MedianRule:
    """The rule that prunes runs: Optuna's median pruner, which compares a run with the complete runs of a sweep."""

    def __init__(self, results: TuningResult) -> None:
        self.results = results
        self.read_at = -math.inf  # when the other runs were read
        # By the folder of each complete run: its values by epoch.
        self.curves_by_run = dict[str, Mapping[int, float]]()

    def should_prune(self, rows: Sequence[Mapping[str, Any]], merits: Sequence[Any]) -> bool:
        """Return whether a run with the history `rows` so far is to end."""
        from optuna import create_study
        from optuna.pruners import MedianPruner
        from optuna.trial import TrialState

        figure, lower = figure_of(rows[-1], merits)
        own_values = by_epoch(rows, figure)
        if rows[-1]["epoch"] not in own_values:
            return False
        self._read_runs(figure)
        with _without_optuna_logs():
            study = create_study(direction="minimize" if lower else "maximize")
            for values in self.curves_by_run.values():
                if values:
                    study.add_trial(_optuna_trial(values, TrialState.COMPLETE))
            return MedianPruner().prune(study, _optuna_trial(own_values, TrialState.RUNNING))

    def _read_runs(self, figure: str) -> None:
        """Read the histories of runs that have become complete, at most once in READ_SECONDS."""
        if time.monotonic() - self.read_at < READ_SECONDS:
            return
        self.read_at = time.monotonic()
        results = read_results(self.results.folder, self.results.plan)
        for run in (run for trial in results.trials for run in trial.runs):
            if str(run.path) not in self.curves_by_run and run.outcome is not None and run.outcome.state == "complete":
                self.curves_by_run[str(run.path)] = by_epoch(run.rows, figure)


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
