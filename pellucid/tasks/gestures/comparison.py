"""What a comparison holds, as plain values: one training, the trainings of one variant, all variants."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pellucid.combine.base import buffer_paths
from pellucid.model import Model
from pellucid.models import match
from pellucid.recipe.recipe import Recipe
from pellucid.tasks.gestures.collection import Collection
from pellucid.tasks.gestures.measure import Measured
from pellucid.tasks.gestures.variants import Variant


class Spread(NamedTuple):
    """The mean of a number over several seeds, the least and the most."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Trial:
    """One finished training. parameters, learned: how many numbers the network has, and how many of them learn."""

    run: Path
    recipe: Recipe
    measured: Measured
    history: Sequence[Mapping[str, Any]]
    held: str  # what the history's validation columns were measured on, "validation" or "test"
    seconds: float
    epochs: int
    parameters: int
    learned: int

    @property
    def seed(self) -> int:
        """The seed of everything that was drawn."""
        return self.recipe.recipe.seed


@dataclass(frozen=True, eq=False)
class Row:
    """One variant, trained with one seed or more; pictures are of the first."""

    variant: Variant
    trials: tuple[Trial, ...]

    @property
    def first(self) -> Trial:
        """The training that pictures are shown of."""
        return self.trials[0]

    def spread(self, number: Callable[[Trial], float]) -> Spread:
        """Return a number of the trainings as its mean and range."""
        values = [number(trial) for trial in self.trials]
        return Spread(sum(values) / len(values), min(values), max(values))


@dataclass(frozen=True, eq=False)
class Comparison:
    """All variants that are trained, out of `planned`, in one order, on the same pictures.

    data: the name of the pictures; n_train, n_test: how many. network: as a recipe names it. command: what makes all
    of it again. collection: what was found in the user's own folder, None of a data set.
    """

    rows: tuple[Row, ...]
    planned: int
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
        """The time that all trainings took together."""
        return sum(trial.seconds for row in self.rows for trial in row.trials)


# What tables and pictures show of a training: its key in comparison.json, and the number.
NUMBERS: dict[str, Callable[[Trial], float]] = {
    "accuracy": lambda trial: trial.measured.accuracy,
    "macro_f1": lambda trial: trial.measured.macro_f1,
    "ece": lambda trial: trial.measured.ece,
    "loss": lambda trial: trial.measured.loss,
    "latency_ms": lambda trial: trial.measured.latency.milliseconds,
    "seconds": lambda trial: trial.seconds,
}


def count_learned(model: Model, frozen: Sequence[str]) -> tuple[int, int]:
    """Return how many numbers a network has beside its running statistics, and how many learn.

    frozen: patterns of the paths of those that do not.
    """
    still = {path for pattern in frozen for path in match(model.params, pattern)}
    buffers = buffer_paths(model.net)
    sizes = {path: tensor.numel() for path, tensor in model.weights.items() if path not in buffers}
    return sum(sizes.values()), sum(size for path, size in sizes.items() if path not in still)


def best_row(rows: Sequence[Row]) -> Row:
    """Return the variant of the highest mean accuracy, of several that with the higher macro F1."""
    return max(rows, key=lambda row: (row.spread(NUMBERS["accuracy"]).mean, row.spread(NUMBERS["macro_f1"]).mean))
