"""The five variants of training that are compared, and the results of a comparison."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


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


class SeedRange(NamedTuple):
    """The mean of a metric over several seeds, its minimum and its maximum."""

    mean: float
    low: float
    high: float

    @property
    def percent(self) -> str:
        """The mean of a fraction in per cent, such as "98.71 %", or with its range "98.71 % (98.10 to 99.40)"."""
        text = f"{100 * self.mean:.2f} %"
        return text if self.low == self.high else f"{text} ({100 * self.low:.2f} to {100 * self.high:.2f})"


# The metrics of a training, by their keys in comparison.json.
METRICS = ("accuracy", "macro_f1", "ece", "loss", "latency_ms", "seconds")


@dataclass(frozen=True, eq=False)
class Trial:
    """One finished training.

    values: the results in comparison.json: seed, run, seconds and epochs of the training, and those of `measure`.
    n_parameters, n_trained: the numbers of all parameters and of trained parameters.
    """

    run: Path
    values: Mapping[str, Any]
    n_parameters: int
    n_trained: int


@dataclass(frozen=True, eq=False)
class VariantRow:
    """One variant, trained with one seed or more; figures show the training with the first seed."""

    variant: TrainingVariant
    trials: tuple[Trial, ...]

    @property
    def first(self) -> Trial:
        """The training with the first seed."""
        return self.trials[0]

    def seed_range(self, metric: str) -> SeedRange:
        """Return one of the values of the trainings as its mean and range."""
        values = [float(trial.values[metric]) for trial in self.trials]
        return SeedRange(sum(values) / len(values), min(values), max(values))

    def to_json(self) -> dict[str, Any]:
        """Return the means and ranges of METRICS, and the values of each training, as JSON values."""
        ranges = {metric: self.seed_range(metric) for metric in METRICS}
        return {
            "variant": self.variant.name,
            "title": self.variant.title,
            "learned": self.first.n_trained,
            "parameters": self.first.n_parameters,
            **{metric: seed_range.mean for metric, seed_range in ranges.items()},
            "range": {metric: [seed_range.low, seed_range.high] for metric, seed_range in ranges.items()},
            "trials": [dict(trial.values) for trial in self.trials],
        }
