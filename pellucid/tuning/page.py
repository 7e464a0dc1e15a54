"""The files of a sweep's results: sweep.json, and a page with all runs and the importance of each setting."""

import json
import os
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np

from pellucid.base.files import write_atomically
from pellucid.base.settings.checks import is_number
from pellucid.base.text import plural
from pellucid.recipe.toml import toml_value
from pellucid.report.figures.compared import (
    Dot,
    EpochValues,
    SettingAxis,
    parallel_coordinates,
    ranking,
    results_by_setting,
    seed_bands,
)
from pellucid.report.sections import (
    Bullets,
    CodeBlock,
    Facts,
    FigurePart,
    Missing,
    Page,
    Section,
    SectionPart,
    TablePart,
)
from pellucid.task import Merit, tasks
from pellucid.tuning.results import LOSS, TunedRun, TunedTrial, TuningResult, values_by_epoch
from pellucid.tuning.space import ValueList, ValueRange

MIN_TRIALS = 8  # the fewest trials for which importances are computed
N_TREES, N_REPEATS = 100, 10


def importances(settings: Sequence[SettingAxis], results: Sequence[float]) -> list[tuple[str, float]]:
    """Return (key, importance) of each setting, the largest first, with the sum 1; [] for too few trials or settings.

    A random forest is fitted to the results; the importance of a setting is how much of its explained variance is lost
    when the setting's values are permuted among the trials. Source: Breiman 2001, "Random forests", section 10.
    """
    if len(results) < MIN_TRIALS or len(settings) < 2 or len(set(results)) < 2:
        return []
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    columns = [
        np.log(setting.values) if setting.log else np.asarray(setting.values, dtype=np.float64) for setting in settings
    ]
    x, y = np.stack(columns, 1), np.asarray(results, dtype=np.float64)
    forest = RandomForestRegressor(N_TREES, random_state=0).fit(x, y)
    permutations: Any = permutation_importance(forest, x, y, n_repeats=N_REPEATS, random_state=0)
    means = permutations.importances_mean.clip(0)
    if not means.sum() > 0:
        return []
    shares = [(setting.key, float(share)) for setting, share in zip(settings, means / means.sum(), strict=True)]
    return sorted(shares, key=lambda key_and_share: -key_and_share[1])


MAX_COLOURED_CURVES = 5  # trials whose curves are coloured
MAX_ROWS = 500  # rows of the table of trials
MAX_GREY_CURVES = 200  # runs of other trials whose curves are grey


def write_results(results: TuningResult) -> TuningResult:
    """Write sweep.json and the page into the folder of a sweep, and return the results."""
    shares = importances(*_setting_axes(results))
    text = json.dumps({**results.to_json(), "importance": dict(shares)}, indent=2) + "\n"
    write_atomically(results.folder.results, text.encode())
    results_page(results, shares).write(results.page)
    return results


def merit_of(results: TuningResult) -> Merit:
    """Return the figure of merit that a sweep compares; the loss before the first result."""
    column = results.first_outcome.figure if results.first_outcome is not None else ""
    merits = (merit for task in tasks() for merit in task.merits)
    return next((merit for merit in merits if f"val_{merit.name}" == column), LOSS)


def value_text(merit: Merit, value: float | None) -> str:
    """Return a value of a figure of merit as text; a dash for None."""
    if value is None:
        return "-"
    return f"{value:.4g}" if merit is LOSS else merit.text(value)


def command_of(results: TuningResult, trial: TunedTrial, run: TunedRun) -> str:
    """Return the command that repeats a run."""
    words = results.plan.command(trial.settings, run.seed)
    return shlex.join(["pellucid", *(words or ["train", str(run.path / "recipe.toml")])])


def settings_text(trial: TunedTrial) -> str:
    """Return the settings of a trial as the words of a command."""
    return " ".join(f"{key}={toml_value(value)}" for key, value in trial.settings.items())


def results_page(results: TuningResult, shares: Sequence[tuple[str, float]]) -> Page:
    """Return the page of a sweep's results so far; shares: the importance of each setting."""
    plan, merit, best = results.plan, merit_of(results), results.best
    counts = {state: count for state, count in results.counts.items() if count or state == "complete"}
    tiles = [(f"best {merit.label}", value_text(merit, best and best.value))]
    tiles += [(state, f"{count:,}") for state, count in counts.items()]
    search_text = {
        "grid": "every combination",
        "random": "random settings",
        "tpe": "settings chosen by Optuna's TPE sampler",
    }
    seeds_text = f", each with {plural(len(plan.seeds), 'seed')}" if len(plan.seeds) > 1 else ""
    direction = "lower" if results.lower else "higher"
    about = (
        f"{plural(plan.trials, 'trial')} of {plan.name}{seeds_text}: {search_text[plan.sampler]}. Compared by "
        f"{merit.label} on the validation images, {direction} is better."
    )
    sections = [
        Section("best", "Best settings", _best_settings_parts(results, merit), wide=True),
        Section("curves", "Curves", [_curves_figure(results, merit)], wide=True),
        Section("settings", "Results by setting", _results_by_setting(results, merit), wide=True),
        Section("importance", "Importance of the settings", [_importance_figure(shares)]),
        Section("trials", "Trials", _trials_table(results, merit), wide=True),
    ]
    failure_lines = [f"Trial {trial.number}: {trial.error}" for trial in results.trials if trial.error]
    if failure_lines:
        failures = Bullets(failure_lines[:20], failure_lines[20:], f"{len(failure_lines) - 20} more")
        sections.append(Section("failed", "What failed", [failures], wide=True))
    sections.append(Section("sweep", "The sweep", [_facts(results)], wide=True))
    return Page(f"Sweep of {plan.name}", sections, about=about, results=tiles)


def _best_settings_parts(results: TuningResult, merit: Merit) -> list[SectionPart]:
    best = results.best
    if best is None:
        return [Missing("No trial is complete yet.")]
    run = best.runs[0]
    test_values = [(run.seed, run.results.get(merit.name)) for run in best.runs]
    test_text = ", ".join(f"seed {seed}: {value_text(merit, value)}" for seed, value in test_values if is_number(value))
    rows = [(key, toml_value(value)) for key, value in best.settings.items()]
    return [
        f"Trial {best.number}: {_range_text(merit, best)} on validation images"
        + (f"; on the test images, {test_text}." if test_text else "."),
        *([TablePart("", ("setting", "value"), rows, (), wrap=True)] if rows else []),
        CodeBlock(command_of(results, best, run)),
    ]


def _range_text(merit: Merit, trial: TunedTrial) -> str:
    """Return the mean of a trial and its range over seeds as text."""
    values = trial.values
    text = f"{merit.label} {value_text(merit, trial.value)}"
    if len(values) < 2:
        return text
    return f"{text}, {value_text(merit, min(values))} to {value_text(merit, max(values))} over {len(values)} seeds"


def _run_curve(results: TuningResult, run: TunedRun, scale: float) -> EpochValues:
    column = "" if results.first_outcome is None else results.first_outcome.figure
    return {epoch: scale * value for epoch, value in values_by_epoch(run.rows, column).items()}


def _curves_figure(results: TuningResult, merit: Merit) -> FigurePart:
    scale = 100.0 if merit.unit == "%" else 1.0
    best_trials = results.ranked[:MAX_COLOURED_CURVES]
    curves_by_trial = {
        f"trial {trial.number}": [_run_curve(results, run, scale) for run in trial.runs] for trial in best_trials
    }
    other_runs = [run for trial in results.trials if trial not in best_trials for run in trial.runs][:MAX_GREY_CURVES]
    other_curves = [_run_curve(results, run, scale) for run in other_runs]
    figure = seed_bands(curves_by_trial, other_curves, f"validation {merit.label}", merit.unit)
    band_text = " The bands are from the worst to the best seed." if len(results.plan.seeds) > 1 else ""
    caption = f"The best {plural(len(best_trials), 'trial')} by epoch, in colour; the others in grey.{band_text}"
    return FigurePart("curves", figure, f"{merit.label} of the trials by epoch", caption, "No trial is complete yet.")


def _axis_label(merit: Merit) -> str:
    unit = f" ({merit.unit})" if merit.unit else ""
    return f"validation {merit.label}{unit}"


def _setting_axes(results: TuningResult) -> tuple[list[SettingAxis], list[float]]:
    """Return the settings that differ among the complete trials, and the results of these trials."""
    complete_trials = [trial for trial in results.trials if trial.value is not None]
    axes: list[SettingAxis] = []
    for key, values in results.plan.space.items():
        used_values = [trial.settings[key] for trial in complete_trials]
        texts = [toml_value(value) for value in used_values]
        if len(set(texts)) < 2:
            continue
        if isinstance(values, ValueRange):
            axes.append(SettingAxis(key, used_values, log=values.log))
        elif all(type(value) in (int, float) for value in used_values):
            axes.append(SettingAxis(key, used_values, log=_is_log(used_values)))
        else:
            value_names = (
                [toml_value(value).strip('"') for value in values.values] if isinstance(values, ValueList) else []
            )
            axes.append(SettingAxis(key, [values.values.index(value) for value in used_values], value_names))
    return axes, [trial.value for trial in complete_trials if trial.value is not None]


def _is_log(values: Sequence[float]) -> bool:
    """Return whether listed numbers are drawn on a logarithmic axis: on a linear one, most would be at its end."""
    return min(values) > 0 and max(values) >= 50 * min(values)


def _results_by_setting(results: TuningResult, merit: Merit) -> list[SectionPart]:
    settings, values = _setting_axes(results)
    if not settings:
        return [Missing("Fewer than two complete trials differ in a setting.")]
    scale = 100.0 if merit.unit == "%" else 1.0
    values = [scale * value for value in values]
    best = values.index(min(values) if results.lower else max(values))
    figure = results_by_setting(settings, values, best, _axis_label(merit))
    parts: list[SectionPart] = [
        FigurePart(
            "slices", figure, f"{merit.label} against each setting", "Each complete trial; the ring is the best."
        )
    ]
    if len(settings) > 1:
        caption = "Each complete trial is a line through its settings to its result; the better, the redder."
        lines = parallel_coordinates(settings, values, merit.label, results.lower)
        parts.append(FigurePart("parallel", lines, "Settings and results as parallel coordinates", caption))
    return parts


def _importance_figure(shares: Sequence[tuple[str, float]]) -> FigurePart:
    dots = [Dot(key, 100 * share, low=0.0, high=100 * share, text=f"{100 * share:.0f} %") for key, share in shares]
    caption = (
        "The part of the explained variance that is lost when a setting is permuted among the trials, by a random "
        "forest. Correlated with the results, not necessarily their cause; of few trials it is a rough guess."
    )
    missing_text = "Too few complete trials, or fewer than two settings that differ."
    return FigurePart("importance", ranking("importance (%)", dots) if dots else None, "Importance of each setting",
                      caption, missing_text)  # fmt: skip


def _trials_table(results: TuningResult, merit: Merit) -> list[SectionPart]:
    setting_keys = [*results.plan.space]
    ranked = results.ranked
    other_trials = [trial for trial in results.trials if trial.value is None]
    listed_trials = [*ranked, *other_trials][:MAX_ROWS]
    if not listed_trials:
        return [Missing("No trial has begun.")]
    has_seeds = len(results.plan.seeds) > 1
    header = ["trial", merit.label, *(("worst", "best") if has_seeds else ()), *setting_keys, "state", "epochs", "run"]
    rows: list[list[str]] = []
    for trial in listed_trials:
        worst_to_best = sorted(trial.values, reverse=results.lower) if has_seeds else []
        range_texts = (
            [value_text(merit, worst_to_best[0]), value_text(merit, worst_to_best[-1])] if worst_to_best else ["-", "-"]
        )
        runs = [run for run in trial.runs if run.outcome is not None] or trial.runs
        rows.append([
            f"{trial.number}", value_text(merit, trial.value), *(range_texts if has_seeds else ()),
            *(toml_value(trial.settings[key]).strip('"') for key in setting_keys),
            trial.state or "unfinished", ", ".join(f"{len(run.rows)}" for run in runs),
            os.path.relpath(runs[0].path.parent if has_seeds else runs[0].path, results.folder.path),
        ])  # fmt: skip
    right_aligned = range(1, len(header) - 3)
    n_unlisted = len(ranked) + len(other_trials) - len(listed_trials)
    caption = "The best first." + (f" {n_unlisted:,} more are in sweep.json." if n_unlisted else "")
    return [TablePart(caption, header, rows, right_aligned)]


def _facts(results: TuningResult) -> Facts:
    plan = results.plan
    name_value_pairs = [(key, str(values)) for key, values in plan.space.items()]
    name_value_pairs += [("seeds", ", ".join(map(str, plan.seeds))), ("threads of each run", str(plan.threads))]
    name_value_pairs += [("pruning", "by the median" if plan.prune else "none"), ("folder", str(results.folder.path))]
    return Facts([*name_value_pairs, ("continue", f"pellucid sweep --resume {shlex.quote(str(results.folder.path))}")])
