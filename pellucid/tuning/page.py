"""The files of a sweep's results: sweep.json, and a page with all runs."""

import json
import os
import shlex
from collections.abc import Sequence

from pellucid.files import write_atomically
from pellucid.recipe.toml import toml_value
from pellucid.report.figures.compared import Dot, ranking
from pellucid.report.figures.tuned import EpochValues, SettingAxis, bands, parallel, slices
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
from pellucid.text import plural
from pellucid.tuning.importance import importances
from pellucid.tuning.results import LOSS, Tuned, TunedRun, TuningResult, by_epoch
from pellucid.tuning.space import ValueList, ValueRange

CURVES = 5  # trials whose curves are coloured
MAX_ROWS = 500  # of the table
MAX_OTHERS = 200  # grey curves


def write_results(results: TuningResult) -> TuningResult:
    """Write sweep.json and the page into the folder of a sweep, and return the results."""
    shares = importances(*_settings(results))
    text = json.dumps({**results.to_json(), "importance": dict(shares)}, indent=2) + "\n"
    write_atomically(results.folder.results, text.encode())
    results_page(results, shares).write(results.page)
    return results


def merit_of(results: TuningResult) -> Merit:
    """Return the figure that a sweep compares, with its label and unit; the loss before the first result."""
    column = results.figure.figure if results.figure is not None else ""
    known = (merit for task in tasks() for merit in task.merits)
    return next((merit for merit in known if f"val_{merit.name}" == column), LOSS)


def value_text(merit: Merit, value: float | None) -> str:
    """Return a value of a figure as text; a dash for None."""
    if value is None:
        return "-"
    return f"{value:.4g}" if merit is LOSS else merit.text(value)


def command_of(results: TuningResult, trial: Tuned, run: TunedRun) -> str:
    """Return the command that trains a run again."""
    words = results.plan.command(trial.settings, run.seed)
    return shlex.join(["pellucid", *(words or ["train", str(run.path / "recipe.toml")])])


def settings_text(trial: Tuned) -> str:
    """Return the settings of a trial as the words of a command."""
    return " ".join(f"{key}={toml_value(value)}" for key, value in trial.settings.items())


def results_page(results: TuningResult, shares: Sequence[tuple[str, float]]) -> Page:
    """Return the page of a sweep as it stands. shares: the importance of each setting."""
    plan, merit, best = results.plan, merit_of(results), results.best
    counts = {state: count for state, count in results.counts.items() if count or state == "complete"}
    tiles = [(f"best {merit.label}", value_text(merit, best and best.value))]
    tiles += [(state, f"{count:,}") for state, count in counts.items()]
    search_text = {
        "grid": "every combination",
        "random": "random settings",
        "tpe": "settings chosen by Optuna's TPE sampler",
    }
    seeds = f", each with {plural(len(plan.seeds), 'seed')}" if len(plan.seeds) > 1 else ""
    direction = "lower" if results.lower else "higher"
    about = (
        f"{plural(plan.trials, 'trial')} of {plan.name}{seeds}: {search_text[plan.sampler]}. Compared by {merit.label} "
        f"on the validation images, {direction} is better."
    )
    sections = [
        Section("best", "Best settings", _best(results, merit), wide=True),
        Section("curves", "Curves", [_curves(results, merit)], wide=True),
        Section("settings", "Results by setting", _by_setting(results, merit), wide=True),
        Section("importance", "Importance of the settings", [_importance(shares)]),
        Section("trials", "Trials", _trials(results, merit), wide=True),
    ]
    failed = [f"Trial {trial.number}: {trial.error}" for trial in results.trials if trial.error]
    if failed:
        failures = Bullets(failed[:20], failed[20:], f"{len(failed) - 20} more")
        sections.append(Section("failed", "What failed", [failures], wide=True))
    sections.append(Section("sweep", "The sweep", [_facts(results)], wide=True))
    return Page(f"Sweep of {plan.name}", sections, about=about, results=tiles)


def _best(results: TuningResult, merit: Merit) -> list[SectionPart]:
    best = results.best
    if best is None:
        return [Missing("No trial is complete yet.")]
    run = best.runs[0]
    tests = [(run.seed, run.results.get(merit.name)) for run in best.runs]
    on_test = ", ".join(f"seed {seed}: {value_text(merit, value)}" for seed, value in tests if value is not None)
    rows = [(key, toml_value(value)) for key, value in best.settings.items()]
    parts: list[SectionPart] = [
        f"Trial {best.number}: {_range_text(merit, best)} on validation images"
        + (f"; on the test images, {on_test}." if on_test else "."),
        *([TablePart("", ("setting", "value"), rows, (), wrap=True)] if rows else []),
        CodeBlock(command_of(results, best, run)),
    ]
    return parts


def _range_text(merit: Merit, trial: Tuned) -> str:
    """Return the mean of a trial and its range over seeds as text."""
    values = trial.values
    text = f"{merit.label} {value_text(merit, trial.value)}"
    if len(values) < 2:
        return text
    return f"{text}, {value_text(merit, min(values))} to {value_text(merit, max(values))} over {len(values)} seeds"


def _curve(results: TuningResult, run: TunedRun, scale: float) -> EpochValues:
    column = "" if results.figure is None else results.figure.figure
    return {epoch: scale * value for epoch, value in by_epoch(run.rows, column).items()}


def _curves(results: TuningResult, merit: Merit) -> FigurePart:
    scale = 100.0 if merit.unit == "%" else 1.0
    best = results.ranked[:CURVES]
    named = {f"trial {trial.number}": [_curve(results, run, scale) for run in trial.runs] for trial in best}
    others = [run for trial in results.trials if trial not in best for run in trial.runs][:MAX_OTHERS]
    drawn = bands(named, [_curve(results, run, scale) for run in others], _label(merit))
    band = " The bands are from the worst to the best seed." if len(results.plan.seeds) > 1 else ""
    caption = f"The best {plural(len(best), 'trial')} by epoch, in colour; the others in grey.{band}"
    return FigurePart("curves", drawn, f"{merit.label} of the trials by epoch", caption, "No trial is complete yet.")


def _label(merit: Merit) -> str:
    unit = f" ({merit.unit})" if merit.unit else ""
    return f"validation {merit.label}{unit}"


def _settings(results: TuningResult) -> tuple[list[SettingAxis], list[float]]:
    """Return the settings that differ, and the results, of the complete trials."""
    complete = [trial for trial in results.trials if trial.value is not None]
    axes: list[SettingAxis] = []
    for key, values in results.plan.space.items():
        given = [trial.settings[key] for trial in complete]
        texts = [toml_value(value) for value in given]
        if len(set(texts)) < 2:
            continue
        if isinstance(values, ValueRange):
            axes.append(SettingAxis(key, given, log=values.log))
        elif all(type(value) in (int, float) for value in given):
            axes.append(SettingAxis(key, given, log=_is_log(given)))
        else:
            names = [toml_value(value).strip('"') for value in values.values] if isinstance(values, ValueList) else []
            axes.append(SettingAxis(key, [values.values.index(value) for value in given], names))
    return axes, [trial.value for trial in complete if trial.value is not None]


def _is_log(values: Sequence[float]) -> bool:
    """Return whether listed numbers are drawn on a logarithmic axis."""
    return min(values) > 0 and max(values) >= 50 * min(values)


def _by_setting(results: TuningResult, merit: Merit) -> list[SectionPart]:
    settings, values = _settings(results)
    if not settings:
        return [Missing("Fewer than two complete trials differ in a setting.")]
    scale = 100.0 if merit.unit == "%" else 1.0
    values = [scale * value for value in values]
    best = values.index(min(values) if results.lower else max(values))
    label = _label(merit)
    figure = slices(settings, values, best, label)
    parts: list[SectionPart] = [
        FigurePart(
            "slices", figure, f"{merit.label} against each setting", "Each complete trial; the ring is the best."
        )
    ]
    if len(settings) > 1:
        caption = "Each complete trial is a line through its settings to its result; the better, the redder."
        lines = parallel(settings, values, merit.label, results.lower)
        parts.append(FigurePart("parallel", lines, "Settings and results as parallel coordinates", caption))
    return parts


def _importance(shares: Sequence[tuple[str, float]]) -> FigurePart:
    dots = [Dot(key, 100 * share, 0.0, 100 * share, f"{100 * share:.0f} %") for key, share in shares]
    caption = (
        "The part of the explained variance that is lost when a setting is permuted among the trials, by a random "
        "forest. Correlated with the results, not necessarily their cause; of few trials it is a rough guess."
    )
    otherwise = "Too few complete trials, or fewer than two settings that differ."
    return FigurePart("importance", ranking("importance (%)", dots) if dots else None, "Importance of each setting",
                      caption, otherwise)  # fmt: skip


def _trials(results: TuningResult, merit: Merit) -> list[SectionPart]:
    keys = [*results.plan.space]
    ranked = results.ranked
    others = [trial for trial in results.trials if trial.value is None]
    listed = [*ranked, *others][:MAX_ROWS]
    if not listed:
        return [Missing("No trial has begun.")]
    has_seeds = len(results.plan.seeds) > 1
    head = ["trial", merit.label, *(("worst", "best") if has_seeds else ()), *keys, "state", "epochs", "run"]
    rows: list[list[str]] = []
    for trial in listed:
        ends = sorted(trial.values, reverse=results.lower) if has_seeds else []
        range_texts = [value_text(merit, ends[0]), value_text(merit, ends[-1])] if ends else ["-", "-"]
        runs = [run for run in trial.runs if run.outcome is not None] or trial.runs
        rows.append([
            f"{trial.number}", value_text(merit, trial.value), *(range_texts if has_seeds else ()),
            *(toml_value(trial.settings[key]).strip('"') for key in keys),
            trial.state or "unfinished", ", ".join(f"{len(run.rows)}" for run in runs),
            os.path.relpath(runs[0].path.parent if has_seeds else runs[0].path, results.folder.path),
        ])  # fmt: skip
    right = range(1, len(head) - 3)
    unlisted = len(ranked) + len(others) - len(listed)
    caption = "The best first." + (f" {unlisted:,} more are in sweep.json." if unlisted else "")
    return [TablePart(caption, head, rows, right)]


def _facts(results: TuningResult) -> Facts:
    plan = results.plan
    pairs = [(key, str(values)) for key, values in plan.space.items()]
    pairs += [("seeds", ", ".join(map(str, plan.seeds))), ("threads of each run", str(plan.threads))]
    pairs += [("pruning", "by the median" if plan.prune else "none"), ("folder", str(results.folder.path))]
    return Facts([*pairs, ("continue", f"pellucid sweep --resume {shlex.quote(str(results.folder.path))}")])
