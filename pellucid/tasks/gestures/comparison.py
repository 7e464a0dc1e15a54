"""The five variants of training that are compared, and their results as a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.base.text import percent, plural
from pellucid.metrics.bootstrap import weighted_mean
from pellucid.recipe.checked.collection import Collection
from pellucid.recipe.checked.findings import findings_to_json, unreadable_text
from pellucid.recipe.compare import RunComparison, read_run, run_sections
from pellucid.recipe.material import Material
from pellucid.recipe.recipe import Recipe
from pellucid.recipe.run_report.page import duration
from pellucid.report.figures.classes import reliability_diagram
from pellucid.report.sections import FigurePart, FigureRow, Missing, Section
from pellucid.tasks.comparison import ComparedColumn, ComparedRow, Comparison


@dataclass(frozen=True)
class TrainingVariant:
    """One variant of training.

    recipe: a built-in recipe, or a TOML file. title: its name in tables. about: a description for beginners. transfers:
    whether it starts from a pretrained backbone.
    """

    recipe: str
    title: str
    about: str
    transfers: bool = True

    @property
    def name(self) -> str:
        """The name in files and links."""
        return Path(self.recipe).stem


VARIANTS = (
    TrainingVariant(
        "signs-scratch",
        "From scratch",
        "All weights are initialized at random, except the first filters, which whiten these pictures where the "
        "network allows it. This is the baseline for the other four. With few pictures such a network easily "
        "memorizes them instead of learning what distinguishes the signs.",
        transfers=False,
    ),
    TrainingVariant(
        "signs-frozen",
        "Frozen features",
        "The backbone was trained on other pictures and is not updated: it turns each picture into a row of "
        "numbers, its features. They are computed once, and only the last layer, which weights them, learns. That "
        "takes seconds, and shows how useful the features of the backbone are here.",
    ),
    TrainingVariant(
        "signs-frozen-augmented",
        "Frozen, augmented",
        "The backbone is still not updated, but every epoch changes each picture: it is rotated, shifted, sheared, "
        "zoomed or mirrored, so that the last layer cannot rely on the position of the hand. The features of a "
        "changed picture have to be computed again in every epoch.",
    ),
    TrainingVariant(
        "signs-finetune",
        "Fine-tuned",
        "The last blocks of the backbone learn too, at a lower rate than the new last layer, so that they adapt to "
        "hands and keep what they have learned. The early blocks, which detect edges and colours, are not updated.",
    ),
    TrainingVariant(
        "signs-best",
        "Fine-tuned, our best",
        "The best settings that we have found: the whole network learns, with augmentation for hands, a learning "
        "rate that rises first and then falls, and label smoothing against overconfidence.",
    ),
)


class Trial(NamedTuple):
    """One finished training."""

    values: Mapping[str, Any]  # JSON values: seed, run, seconds, epochs, parameters, and the results of `measure`
    is_right: Tensor  # (N,) bool, of each held-out picture


# The metrics of a variant: the means over its trainings.
METRICS = ("accuracy", "macro_f1", "ece", "loss", "latency_ms", "seconds")
COLUMNS = (
    ComparedColumn(
        "accuracy",
        "accuracy",
        percent,
        "the fraction of held-out pictures that are classified correctly",
        "Accuracy, higher is better",
        in_percent=True,
    ),
    ComparedColumn(
        "macro_f1",
        "macro F1",
        percent,
        "the mean over the classes of F1, which is high only where both precision and recall are; rare classes count "
        "as much as common ones",
        "Macro F1, higher is better",
        in_percent=True,
    ),
    ComparedColumn(
        "ece",
        "ECE",
        percent,
        "expected calibration error: the mean difference between a network's confidence and its accuracy; 0 is best",
        "Calibration error (ECE), lower is better",
        in_percent=True,
    ),
    ComparedColumn(
        "latency_ms", "per image", "{:.2f} ms".format, "the median time of the network for a single picture"
    ),
    ComparedColumn("seconds", "training", duration, "the time of all epochs", "Training time, in seconds"),
    ComparedColumn("learned", "trainable", "{:,}".format, "the number of parameters that training updates"),
)
CALIBRATION_CAPTION = (
    "The marks across the bars are the accuracy at each confidence; of a calibrated network they lie on the dashed "
    "line. Orange: overconfident. Green: underconfident. Below: the fraction of pictures at each confidence."
)


def row_of(variant: TrainingVariant, trials: Sequence[Trial]) -> ComparedRow:
    """Return the means over the trainings of a variant; its run is the one with the first seed."""
    first_values = trials[0].values
    means: dict[str, float] = {}
    ranges: dict[str, tuple[float, float]] = {}
    for metric in METRICS:
        values = [float(trial.values[metric]) for trial in trials]
        means[metric] = sum(values) / len(values)
        ranges[metric] = min(values), max(values)
    all_values = {
        "variant": variant.name,
        "learned": first_values["learned"],
        "parameters": first_values["parameters"],
        **means,
        "trials": [trial.values for trial in trials],
    }
    right_fractions = torch.stack([trial.is_right.double() for trial in trials]).mean(0)
    weighted_value = weighted_mean(right_fractions)
    return ComparedRow(
        variant.name, variant.title, all_values, ranges, weighted_value, variant.about, first_values["run"]
    )


def comparison_of(
    rows: list[ComparedRow], n_planned: int, recipe: Recipe, material: Material[Any], backbone: str, command: str
) -> Comparison:
    """Return the comparison of the variants that are trained so far. n_planned: the number of all variants."""
    collection = material if isinstance(material, Collection) else None
    n_train = len(material.train) + (0 if material.validation is None else len(material.validation))
    n_test, n_classes = len(material.test), len(material.test.classes)
    size, data = tuple(material.test.x.shape[1:]), Path(recipe.data.name).name
    trials = rows[0].values["trials"]
    notes = [
        f"One network, {recipe.network.name} with {rows[0].values['parameters']:,} weights, {n_train:,} training "
        f"pictures of {n_classes} classes as {' x '.join(map(str, size))} values, and {n_test:,} other pictures for "
        f"the evaluation. Only the way of training differs. The backbone is {backbone}."
    ]
    if len(trials) > 1:
        notes.append(f"Each was trained with {len(trials)} seeds; the values are means.")
    if collection is not None and collection.corrupt:
        notes.append(f"{unreadable_text(len(collection.corrupt))}.")
    n_missing = n_planned - len(rows)
    missing_text = f"{n_missing} of {n_planned} variants are not trained yet; the command at the end continues."
    threads = plural(trials[0]["latency_threads"], "thread")
    facts = {
        "data": data,
        "backbone": backbone,
        "network": recipe.network.name,
        "size": list(size),
        "n_train": n_train,
        "n_test": n_test,
        "classes": list(material.test.classes),
        "command": command,
        "complete": not n_missing,
        "seconds": round(sum(trial["seconds"] for row in rows for trial in row.values["trials"]), 3),
        "collection": None if collection is None else findings_to_json(collection),
    }
    return Comparison(
        title=f"Ways to train, compared: {data}",
        noun="variant",
        facts=facts,
        columns=COLUMNS,
        rows=tuple(rows),
        examples=n_test,
        notes=notes,
        rows_key="variants",
        caption=f"On {n_test:,} held-out pictures; times per image on {threads} of the CPU.",
        header=[Missing(missing_text)] if n_missing else [],
        sections=_sections,
    )


def _sections(rows: Sequence[ComparedRow]) -> list[Section]:
    """Return the sections about calibration, and about the runs with the first seed side by side."""
    figures: list[FigurePart] = []
    for row in rows:
        values = row.values["trials"][0]
        diagram = reliability_diagram(**values["reliability"], error=values["ece"])
        text = f"{row.title}: expected calibration error {100 * values['ece']:.1f} per cent."
        figures.append(FigurePart(f"{row.name}-reliability", diagram, f"Reliability diagram. {text}", text))
    calibration = Section("calibration", "Calibration", [FigureRow(figures), CALIBRATION_CAPTION], wide=True)
    runs = RunComparison([row.title for row in rows], [read_run(Path(row.run)) for row in rows])
    return [calibration, *run_sections(runs)]
