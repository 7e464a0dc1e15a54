"""Comparison of runs on one page: results, recipes, curves, classes and manifests side by side."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.base.errors import PellucidError
from pellucid.recipe.run_report.classes import CONFUSION_FILE, class_rows
from pellucid.recipe.run_report.data import read_recipe
from pellucid.recipe.run_report.page import dotted_pairs, headline
from pellucid.recipe.toml import toml_value
from pellucid.report.figures.classes import confusion_matrix
from pellucid.report.figures.compared import RUN_COLOURS, accuracy_by_time, run_curves
from pellucid.report.sections import (
    CodeBlock,
    FigurePart,
    FigureRow,
    Legend,
    Missing,
    Page,
    Section,
    SectionPart,
    TablePart,
)
from pellucid.run.folder import RunFolder
from pellucid.run.history import History
from pellucid.run.records import read_object
from pellucid.training.diagnose import StoppedError

RESUME_ADVICE = "`pellucid train --resume` writes it again"
ABSENT = "-"  # shown for a run without the key
KEYS_WITHOUT_EFFECT = ("recipe.name", "recipe.about", "recipe.then")  # keys of a recipe without effect on its results
PER_RUN_KEYS = ("started", "recipe_sha256", "weights_sha256", "resumed")  # keys of a manifest that always differ


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """The records of a run folder as plain values; missing ones are empty.

    settings: the values of the recipe as TOML, by dotted key such as `optimizer.lr`. results: the metrics on the test
    images. history: metrics by epoch. classes: the names of the classes. confusion: (K, K) counts, true by predicted.
    stopped: the NaN or infinity that ended the training, if any.
    """

    path: Path
    settings: Mapping[str, str]
    results: Mapping[str, Any]
    history: History
    classes: Sequence[str]
    confusion: NDArray[np.int64] | None
    manifest: Mapping[str, str]
    stopped: StoppedError | None = None

    @property
    def val_data(self) -> str:
        """The data that val_* in the history are measured on, "validation" or "test"."""
        return "test" if self.results.get("weights") == "last" else "validation"


@dataclass(frozen=True, eq=False)
class RunComparison:
    """Runs side by side. Each row of a table is a name and one text for each run, in order."""

    names: Sequence[str]
    runs: Sequence[ComparedRun]

    @property
    def result_rows(self) -> list[tuple[str, ...]]:
        """The main results, the number of epochs in the history, and the step at which NaN or infinity appeared."""
        columns = [
            {
                **dict(headline(run.results)),
                "epochs": f"{len(run.history):,}",
                **({} if run.stopped is None else {"stopped": f"{run.stopped.fault.what}, step {run.stopped.step:,}"}),
            }
            for run in self.runs
        ]
        return _table_rows(_union_of_names(columns), columns)

    @property
    def stop_sentences(self) -> list[str]:
        """A sentence for each run that NaN or infinity ended: its name, and the message with the step and layer."""
        runs = zip(self.names, self.runs, strict=True)
        return [f"{name}: {run.stopped}" for name, run in runs if run.stopped is not None]

    @property
    def recipe_differences(self) -> list[tuple[str, ...]]:
        """The keys of the recipes whose values differ, with the value in each run."""
        return differing_rows([run.settings for run in self.runs])

    @property
    def manifest_differences(self) -> list[tuple[str, ...]]:
        """The keys of the manifests whose values differ, with the value in each run."""
        return differing_rows([run.manifest for run in self.runs])

    @property
    def f1_rows(self) -> list[tuple[str, ...]]:
        """F1 of each class, and the mean over the classes; empty where no run recorded a confusion matrix."""
        columns = [
            {} if run.confusion is None else {name: f1 for name, _, _, f1, _ in class_rows(run.confusion, run.classes)}
            for run in self.runs
        ]
        classes = _union_of_names(run.classes for run in self.runs)
        return _table_rows([*classes, *(["mean"] if classes else [])], columns)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the curves as JSON values."""
        runs = [
            {
                "name": name,
                "path": str(run.path),
                "epochs": len(run.history),
                "results": dict(run.results),
                "stopped": None if run.stopped is None else run.stopped.to_json(),
            }
            for name, run in zip(self.names, self.runs, strict=True)
        ]
        tables = {"recipes": self.recipe_differences, "classes": self.f1_rows, "manifests": self.manifest_differences}
        return {"runs": runs, **{name: {key: texts for key, *texts in rows} for name, rows in tables.items()}}


def compare_runs(paths: Sequence[str | os.PathLike[str]]) -> RunComparison:
    """Read two or more run folders; raises PellucidError for fewer, equal, invalid or damaged ones."""
    if len(paths) < 2:
        raise PellucidError("compare-runs needs two or more run folders")
    folders = [Path(path) for path in paths]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise PellucidError("compare-runs: the same run folder is given twice; give each once")
    folder_names = [folder.resolve().name for folder in folders]
    names = folder_names if len(set(folder_names)) == len(folders) else [str(folder) for folder in folders]
    return RunComparison(names, [read_run(folder) for folder in folders])


def read_run(path: Path) -> ComparedRun:
    """Read the records of a run folder; raises PellucidError without metrics.csv, and for damaged files."""
    if not (path / "metrics.csv").is_file():
        raise PellucidError(f"{path} contains no metrics.csv; give a run folder in which a training finished an epoch")
    tables = read_recipe(path / "recipe.toml")[1] if (path / "recipe.toml").is_file() else {}
    confusion_record = read_object(path / CONFUSION_FILE, RESUME_ADVICE)
    classes, confusion = _parse_confusion(path / CONFUSION_FILE, confusion_record) if confusion_record else ((), None)
    manifest = read_object(path / "manifest.json", RESUME_ADVICE) or {}
    return ComparedRun(
        path,
        settings=flat_settings(tables, path),
        results=read_object(path / "results.json", RESUME_ADVICE) or {},
        history=History.read(path),
        classes=classes,
        confusion=confusion,
        manifest=dict(dotted_pairs({key: value for key, value in manifest.items() if key not in PER_RUN_KEYS})),
        stopped=StoppedError.read(RunFolder(path).error),
    )


def flat_settings(
    tables: Mapping[str, Mapping[str, Any]], where: str | os.PathLike[str] = "the recipe"
) -> dict[str, str]:
    """Return the values of a recipe as TOML, by dotted key such as `optimizer.lr`, without KEYS_WITHOUT_EFFECT."""
    pairs = {f"{table}.{key}": value for table, keys in tables.items() for key, value in keys.items()}
    try:
        return {key: toml_value(value) for key, value in pairs.items() if key not in KEYS_WITHOUT_EFFECT}
    except TypeError as error:
        raise PellucidError(f"{where}: {error}; give numbers, text, truth values and lists") from error


def differing_rows(columns: Sequence[Mapping[str, str]]) -> list[tuple[str, ...]]:
    """Return the keys whose values differ, with their value in each column; keys of one table are adjacent."""
    tables = _union_of_names([key.partition(".")[0] for key in column] for column in columns)
    keys = sorted(_union_of_names(columns), key=lambda key: tables.index(key.partition(".")[0]))
    return [row for row in _table_rows(keys, columns) if len(set(row[1:])) > 1]


def _table_rows(keys: Iterable[str], columns: Sequence[Mapping[str, str]]) -> list[tuple[str, ...]]:
    return [(key, *(column.get(key, ABSENT) for column in columns)) for key in keys]


def comparison_page(comparison: RunComparison, command: str) -> Page:
    """Return the page of a comparison. command: the command that writes the page."""
    colours = [RUN_COLOURS[k % len(RUN_COLOURS)] for k in range(len(comparison.names))]
    legend = Legend(list(zip(comparison.names, colours, strict=True)))
    sections = [*run_sections(comparison), Section("reproduce", "How to reproduce", [CodeBlock(command)], wide=True)]
    return Page(f"Runs compared: {', '.join(comparison.names)}", sections, header=[legend], heading="Runs compared")


def run_sections(comparison: RunComparison) -> list[Section]:
    """Return the sections about the runs: results, recipes, curves, classes, manifests and confusion matrices."""
    runs = list(zip(comparison.names, comparison.runs, strict=True))
    unfinished_names = [name for name, run in runs if not run.results and not run.stopped]
    no_result_notes = [
        Missing(f"{name} recorded no result: its training is not finished, or it had no recipe.")
        for name in unfinished_names
    ]
    no_confusion_notes = [
        Missing(f"{name} recorded no confusion matrix; `pellucid train --resume` writes it.")
        for name, run in runs
        if run.confusion is None
    ]
    score_tables = [TablePart("F1 on the test images", ("class", *comparison.names), comparison.f1_rows, foot=True)]
    confusion_figures = [
        FigurePart(
            f"confusion-{k}", None if run.confusion is None else confusion_matrix(run.confusion, run.classes),
            f"Confusion matrix of {name}", f"{name}: counts.", f"{name}: none.",
        )
        for k, (name, run) in enumerate(runs)
    ]  # fmt: skip
    results_table = TablePart("", ("", *comparison.names), comparison.result_rows)
    recipes_caption = "All keys that differ; a dash where a recipe does not have a key."
    manifests_caption = "What the results depend on besides the recipes."
    return [
        Section("results", "Results on the test images", [results_table, *comparison.stop_sentences, *no_result_notes]),
        Section(
            "recipes",
            "Differences of the recipes",
            [_differences_part(comparison.names, "recipes", comparison.recipe_differences, recipes_caption)],
        ),
        Section(
            "curves",
            "Curves",
            ["Solid: on held-out images; dashed: on training images.", _curves_row(comparison)],
            wide=True,
        ),
        Section("classes", "Class by class", [*(score_tables if comparison.f1_rows else []), *no_confusion_notes]),
        Section(
            "manifests",
            "Differences of the manifests",
            [_differences_part(comparison.names, "manifests", comparison.manifest_differences, manifests_caption)],
        ),
        Section("confusion", "Confusion matrices", [FigureRow(confusion_figures)], wide=True),
    ]


def _differences_part(names: Sequence[str], subject: str, rows: list[tuple[str, ...]], caption: str) -> SectionPart:
    header = ("key", *names)
    return TablePart(caption, header, rows, (), wrap=True) if rows else Missing(f"The {subject} do not differ.")


def _curves_row(comparison: RunComparison) -> FigureRow:
    """Return the curves of each metric by epoch, and the accuracy by time."""
    histories = [run.history.rows for run in comparison.runs]
    columns = _union_of_names(row for rows in histories for row in rows)
    metrics = _union_of_names([[name.partition("_")[2] for name in columns if name.startswith(("train_", "val_"))]])
    figures = [
        FigurePart(
            f"curves-{name}", run_curves(comparison.names, histories, name),
            f"{name.capitalize().replace('_', ' ')} of each run by epoch",
            otherwise=f"No finite {name} was recorded.",
        )
        for name in metrics
    ]  # fmt: skip
    val_data = {run.val_data for run in comparison.runs}
    figure = accuracy_by_time(comparison.names, histories, val_data.pop() if len(val_data) == 1 else "held-out")
    caption = "The same by seconds of training, on a logarithmic axis."
    alt, otherwise = "Held-out accuracy of each run by seconds of training", "No accuracy over time was recorded."
    return FigureRow([*figures, FigurePart("time", figure, alt, caption, otherwise)])


def _union_of_names(tables: Iterable[Iterable[str]]) -> list[str]:
    """Return the names in any of the tables, each once, in the order of their first appearance."""
    return list(dict.fromkeys(name for table in tables for name in table))


def _parse_confusion(path: Path, values: Mapping[str, Any]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the class names and the counts (K, K) in a confusion matrix file; raises PellucidError if invalid."""
    classes, rows = values.get("classes"), values.get("counts") or []
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise PellucidError(f"{path} has no list of class names; {RESUME_ADVICE}")
    n_classes = len(classes)
    is_square = (
        isinstance(rows, list)
        and [len(row) if isinstance(row, list) else -1 for row in rows] == [n_classes] * n_classes
    )
    if not is_square or not all(type(count) is int and 0 <= count < 2**53 for row in rows for count in row):
        raise PellucidError(f"{path} does not contain {n_classes} x {n_classes} counts; {RESUME_ADVICE}")
    return classes, np.array(rows, dtype=np.int64).reshape(n_classes, n_classes)
