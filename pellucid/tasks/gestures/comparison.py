"""The five variants of training that are compared, and the results of a comparison."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pellucid.combine.base import buffer_paths
from pellucid.model import Model
from pellucid.models import match
from pellucid.recipe.recipe import Recipe
from pellucid.tasks.gestures.collection import Collection
from pellucid.tasks.gestures.measure import ClassifierEvaluation


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


@dataclass(frozen=True, eq=False)
class Trial:
    """One finished training. n_parameters, n_trained: the numbers of all parameters and of trained parameters."""

    run: Path
    recipe: Recipe
    evaluation: ClassifierEvaluation
    history: Sequence[Mapping[str, Any]]
    part: str  # the part of the data on which val_* in the history was measured, "validation" or "test"
    seconds: float
    epochs: int
    n_parameters: int
    n_trained: int

    @property
    def seed(self) -> int:
        """The seed of all random numbers of the training."""
        return self.recipe.recipe.seed


@dataclass(frozen=True, eq=False)
class VariantRow:
    """One variant, trained with one seed or more; figures show the training with the first seed."""

    variant: TrainingVariant
    trials: tuple[Trial, ...]

    @property
    def first(self) -> Trial:
        """The training with the first seed."""
        return self.trials[0]

    def seed_range(self, metric: Callable[[Trial], float]) -> SeedRange:
        """Return a metric of the trainings as its mean and range."""
        values = [metric(trial) for trial in self.trials]
        return SeedRange(sum(values) / len(values), min(values), max(values))


@dataclass(frozen=True, eq=False)
class VariantComparison:
    """The variants trained so far on the same pictures.

    n_planned: the number of all variants. backbone: see `compare`. network: its name, as in a recipe. data: the name of
    the data. n_train, n_test: the numbers of pictures. command: the command that repeats the comparison. collection:
    the contents of the user's own folder, None for a data set.
    """

    rows: tuple[VariantRow, ...]
    n_planned: int
    backbone: str
    network: str
    size: tuple[int, ...]  # (C, H, W) of an image
    data: str
    n_train: int
    n_test: int
    classes: tuple[str, ...]
    command: str
    collection: Collection | None

    @property
    def seconds(self) -> float:
        """The total time of all trainings."""
        return sum(trial.seconds for row in self.rows for trial in row.trials)


# The metrics of a training, by their keys in comparison.json.
METRICS: dict[str, Callable[[Trial], float]] = {
    "accuracy": lambda trial: trial.evaluation.accuracy,
    "macro_f1": lambda trial: trial.evaluation.macro_f1,
    "ece": lambda trial: trial.evaluation.ece,
    "loss": lambda trial: trial.evaluation.loss,
    "latency_ms": lambda trial: trial.evaluation.latency.milliseconds,
    "seconds": lambda trial: trial.seconds,
}


def count_parameters(model: Model, frozen: Sequence[str]) -> tuple[int, int]:
    """Return the number of parameters of a network, and the number of trained parameters.

    frozen: patterns of the paths of frozen parameters.
    """
    frozen_paths = {path for pattern in frozen for path in match(model.params, pattern)}
    buffers = buffer_paths(model.net)
    sizes = {path: tensor.numel() for path, tensor in model.weights.items() if path not in buffers}
    return sum(sizes.values()), sum(size for path, size in sizes.items() if path not in frozen_paths)


def best_row(rows: Sequence[VariantRow]) -> VariantRow:
    """Return the variant with the highest mean accuracy; among equal ones, with the highest mean macro F1."""
    return max(
        rows, key=lambda row: (row.seed_range(METRICS["accuracy"]).mean, row.seed_range(METRICS["macro_f1"]).mean)
    )
