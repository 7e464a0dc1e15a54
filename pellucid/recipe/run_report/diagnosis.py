"""The first sentences of a run's report: the figure beside its baseline, and the course of the training."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.recipe.baseline import compared_merit, figure_text, is_above_baseline
from pellucid.report.sections import SectionPart, Warned
from pellucid.task import Merit

MIN_RISE = 1.05  # of the held-out loss above its lowest value, from which the rise is called overfitting
DOCTOR_TEXT = (
    "`pellucid doctor` with this run's folder examines the data, the network and the training, and tests causes."
)


def diagnosis(
    metrics: Mapping[str, Any], merits: Sequence[Merit], history: Sequence[Mapping[str, Any]], val_data: str
) -> list[SectionPart]:
    """Return the sentences that a report begins with; [] without results and without a history.

    metrics, merits, history, val_data: see `ReportData`. Overfitting is stated if the training loss fell after the
    epoch with the lowest held-out loss while the held-out loss rose by a factor of MIN_RISE or more.
    """
    sentences = [*_figure_parts(metrics, merits), *_course_parts(history, val_data)]
    needs_hint = not any(isinstance(sentence, Warned) for sentence in sentences)
    return [*sentences, DOCTOR_TEXT] if sentences and needs_hint else sentences


def _figure_parts(metrics: Mapping[str, Any], merits: Sequence[Merit]) -> list[SectionPart]:
    """Return the sentence of the main figure and its baseline, in red if the model is not above it."""
    merit = compared_merit(merits, metrics)
    if merit is None:
        return []
    sentence = figure_text(merits, metrics)
    return [sentence if is_above_baseline(merit, metrics) else Warned(sentence)]


def _course_parts(history: Sequence[Mapping[str, Any]], val_data: str) -> list[SectionPart]:
    """Return a sentence about the losses by epoch; [] for fewer than two epochs with finite held-out losses."""
    rows_with_train_loss = [row for row in history if "train_loss" in row]
    for row in rows_with_train_loss:
        if not _is_finite(row["train_loss"]):
            return [
                Warned(f"The training loss was not finite in epoch {row['epoch']}: run `pellucid doctor` on the run.")
            ]
    rows_with_losses = [row for row in rows_with_train_loss if _is_finite(row.get("val_loss"))]
    if len(rows_with_losses) < 2:
        return []
    best_row = min(rows_with_losses, key=lambda row: row["val_loss"])
    last_row = rows_with_losses[-1]
    lowest_text = (
        f"The {val_data} loss was lowest, {best_row['val_loss']:.4g}, "
        f"in epoch {best_row['epoch']} of {last_row['epoch']}"
    )
    if best_row is last_row:
        return [f"{lowest_text}, the last one: more epochs may lower it further."]
    change_text = (
        f"{lowest_text}, and {last_row['val_loss']:.4g} in the last one; the training loss went from "
        f"{best_row['train_loss']:.4g} to {last_row['train_loss']:.4g} between them"
    )
    is_overfitting = (
        last_row["val_loss"] > MIN_RISE * best_row["val_loss"] > 0 and last_row["train_loss"] < best_row["train_loss"]
    )
    return [f"{change_text}, so the network overfits." if is_overfitting else f"{change_text}."]


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
