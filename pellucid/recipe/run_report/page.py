"""The report page of a run, its figures and its tables."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.base.files import write_atomically
from pellucid.metrics import METRICS
from pellucid.recipe.run_report.diagnosis import diagnosis
from pellucid.report.figures.curves import (
    gradient_norm_curves,
    learning_rate_curve,
    loss_curves,
    metric_curves,
    update_ratio_curves,
)
from pellucid.report.figures.pictures import first_weights
from pellucid.report.sections import (
    CodeBlock,
    FigurePart,
    FigureRow,
    Folded,
    Heading,
    Missing,
    Page,
    Section,
    TablePart,
)
from pellucid.task import Merit

if TYPE_CHECKING:
    from pellucid.recipe.run_report.data import ReportData
    from pellucid.report.sections import SectionPart

ACCURACY_MERIT = (Merit("accuracy", "accuracy"),)
MAX_FILTERS = 64  # the number of filters that `first_weights` draws
GRADIENTS_CAPTION = (
    "The L2 norm of each layer's gradient at the last step of each epoch, from the first layer (blue) to the last "
    "(orange). Lines that fall towards the first layers show a vanishing gradient."
)
UPDATES_CAPTION = (
    "How much one step changed each layer's weights, relative to their size. Far above the guide training tends to be "
    "unstable; far below, slow."
)
MANIFEST_CAPTION = "What the result depends on besides the recipe"
REPRODUCE_TEXT = (
    "The same recipe, seed and versions (below) on the same kind of machine give the same weights, bit by bit; "
    "recipe.toml is beside this report."
)


def page(data: ReportData) -> Page:
    """Return the report as a page."""
    parameters = data.summary.parameters if data.summary is not None else None
    results = headline(data.metrics, parameters, data.merits)
    sections = [
        *data.data,
        _curves_section(data),
        *data.sections,
        _details_section(data),
        _processes_section(data),
        Section("reproduce", "How to reproduce", [REPRODUCE_TEXT, CodeBlock(data.command)]),
        Section("network", "Network", _network_parts(data), wide=True),
        Section("recipe", "Recipe", [
            CodeBlock(data.recipe_text.strip()) if data.recipe_text else Missing("The recipe was not recorded.")
        ]),
        Section("manifest", "Manifest", [
            Folded(MANIFEST_CAPTION, [TablePart("", ("what", "value"), dotted_pairs(data.manifest), (), wrap=True)])
            if data.manifest
            else Missing("No manifest was recorded.")
        ]),
    ]  # fmt: skip
    header = diagnosis(data.metrics, data.merits, data.history, data.val_data)
    if not results:
        header.append(Missing("No final results were recorded."))
    return Page(data.recipe, [section for section in sections if not section.is_empty], data.about, results, header)


def _curves_section(data: ReportData) -> Section:
    has_validation = any(_is_finite_number(row, "val_loss") for row in data.history)
    notes: list[SectionPart] = []
    if not has_validation:
        notes = [Missing("No images were held out during training, so there is no second curve.")]
    elif data.val_data == "test":
        notes = [Missing(
            "The recipe has no validation images: the second curve is for the test images, which are not used for "
            "choices."
        )]  # fmt: skip
    ring_note = "The ring marks the best validation value." if has_validation and data.val_data != "test" else ""
    loss_figure = loss_curves(data.history, data.val_data)
    figures = [
        FigurePart(
            "loss", loss_figure, _first_and_last_text(data, "loss", "Loss"), ring_note, "No finite loss was recorded."
        )
    ]
    merit = next(
        (merit for merit in data.merits if any(_is_finite_number(row, f"val_{merit.name}") for row in data.history)),
        None,
    )
    if merit is None:
        return Section("curves", "Loss", [*notes, FigureRow(figures)], wide=True)
    metric_figure = metric_curves(data.history, data.val_data, *merit)
    figures.append(FigurePart(merit.name, metric_figure, _first_and_last_text(data, merit.name, merit.label)))
    return Section("curves", f"Loss and {merit.label}", [*notes, FigureRow(figures)], wide=True)


def _processes_section(data: ReportData) -> Section:
    """Return the section about the time that processes of a training waited for each other; empty for one process."""
    rows = [row for row in data.history if _is_finite_number(row, "wait_seconds")]
    if not any(row["wait_seconds"] for row in rows):
        return Section("processes", "Processes", [])
    formats = {"epoch": ".0f", "slowest_process": ".0f", "wait_seconds": ".2f", "seconds": ".2f"}
    cells = [tuple(format(row[name], format_spec) for name, format_spec in formats.items()) for row in rows]
    header = ("epoch", "slowest process", "longest wait for it, s", "epoch, s")
    return Section("processes", "Processes", [TablePart("Waits for the slowest process", header, cells, range(4))])


def _details_section(data: ReportData) -> Section:
    """Return the folded section of the learning rate, the gradients, the updates and the first layer's weights."""
    figures = {
        "Learning rate": FigurePart("learning_rate", learning_rate_curve(data.history), "Learning rate by epoch"),
        "Gradients, layer by layer": FigurePart(
            "gradients",
            gradient_norm_curves(data.layers),
            "Gradient norm of each layer by epoch",
            GRADIENTS_CAPTION,
        ),
        "Updates against weights": FigurePart(
            "updates",
            update_ratio_curves(data.layers),
            "Update to weight ratio of each layer by epoch",
            UPDATES_CAPTION,
        ),
        "First layer's weights": _weights_figure(data),
    }
    columns = [[Heading(heading), part] for heading, part in figures.items() if part.figure is not None]
    parts = [Folded("Learning rate, gradients, updates and weights", [FigureRow(columns)])] if columns else []
    return Section("details", "Training in detail", parts, wide=True)


def _weights_figure(data: ReportData) -> FigurePart:
    if data.first_weights is None:
        return FigurePart("first_weights", None, "")
    count, channels = data.first_weights.shape[:2]
    caption = (
        f"{f'The first {MAX_FILTERS} of' if count > MAX_FILTERS else 'All'} {count} filters of {data.first_path}"
        f"{'' if channels in (1, 3) else f', of the first of {channels} channels'}; "
        f"{'colours relative to grey, which is zero' if channels == 3 else 'ochre negative, blue positive'}."
    )
    alt = f"Weights of the first layer as {min(count, MAX_FILTERS)} images"
    return FigurePart("first_weights", first_weights(data.first_weights), alt, caption)


def _network_parts(data: ReportData) -> list[SectionPart]:
    if data.summary is None and data.networks:
        return [TablePart("Networks", ("network", "size"), [*data.networks.items()])]
    if data.summary is None:
        return [Missing("The network was not recorded.")]
    header, *rows = data.summary.cells()
    table = TablePart("Layers in forward order", header, rows, (3, 4, 5), foot=True)
    return ["Multiply-adds and memory (outputs, and caches for the backward pass) are for one image.", table]


def headline(
    results: Mapping[str, Any], parameters: int | None = None, merits: Sequence[Merit] = ACCURACY_MERIT
) -> list[tuple[str, str]]:
    """Return the main results of a run as pairs (name, text), with the text "not finite" for NaN and infinity.

    results: the test results by name. parameters: the number of parameters. merits: the metrics that come first.
    """
    merits_by_name = {merit.name: merit for merit in merits}
    texts: dict[str, str] = {}
    for name in dict.fromkeys((*merits_by_name, "loss", *METRICS)):
        value = results.get(name)
        if isinstance(value, int | float):
            label = merits_by_name[name].label if name in merits_by_name else name.replace("_", " ")
            text = merits_by_name[name].text(value) if name in merits_by_name else f"{value:.4g}"
            texts[f"test {label}"] = text if math.isfinite(value) else "not finite"
    for key, name in (("n", "test images"), ("epochs", "epochs"), ("images_per_second", "images per second")):
        if _is_finite_number(results, key):
            texts[name] = f"{results[key]:,.0f}"
    if _is_finite_number(results, "seconds"):
        texts["training"] = duration(results["seconds"])
    return [*texts.items()] if parameters is None else [*texts.items(), ("parameters", f"{parameters:,}")]


def duration(seconds: float) -> str:
    """Return a time as text: 4.2 s, 3 min 20 s or 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, remaining_seconds = divmod(round(seconds), 60)
    return f"{minutes} min {remaining_seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def dotted_pairs(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return nested mappings and lists as pairs (dotted name, value as text)."""
    if isinstance(values, Mapping):
        pairs = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list):
        pairs = [(str(k), value) for k, value in enumerate(values, 1)]
    else:
        return [(prefix, "" if values is None else str(values))]
    return [line for key, value in pairs for line in dotted_pairs(value, f"{prefix}.{key}" if prefix else key)]


def _is_finite_number(values: Mapping[str, Any], key: str) -> bool:
    """Return whether the value of a key is a finite number."""
    value = values.get(key)
    return isinstance(value, int | float) and math.isfinite(value)


def _first_and_last_text(data: ReportData, metric: str, label: str) -> str:
    """Return the first and last values of a metric on training and held-out data, as text."""
    ranges: list[str] = []
    for key, name in ((f"train_{metric}", "training"), (f"val_{metric}", data.val_data)):
        values = [row[key] for row in data.history if _is_finite_number(row, key)]
        if values:
            ranges.append(f"{name} from {values[0]:.4g} to {values[-1]:.4g}")
    return f"{label} by epoch: {', '.join(ranges) or 'nothing recorded'}"


def write_report(run: str | os.PathLike[str], data: ReportData) -> Path:
    """Write report.html, figures/*.png and the files of the task into the folder `run`; return the path of the report.

    Each file is written atomically. Raises PellucidError if a file cannot be written.
    """
    path = page(data).write(Path(run) / "report.html")
    for name, values in data.files.items():
        write_atomically(Path(run) / name, (json.dumps(values) + "\n").encode(), durable=False)
    return path
