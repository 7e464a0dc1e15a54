"""The five ways to train that are compared, and what a comparison holds, as plain values."""

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


@dataclass(frozen=True)
class Variant:
    """One way to train.

    recipe: a built-in one, or a TOML file. title: what tables call it. about: what it does, for people who have not
    heard of it. transfers: whether it begins with a backbone that was trained before.
    """

    recipe: str
    title: str
    about: str
    transfers: bool = True

    @property
    def name(self) -> str:
        """The name of files and links."""
        return Path(self.recipe).stem


VARIANTS = (
    Variant(
        "signs-scratch",
        "From scratch",
        "Every weight begins as a random number, but for first filters that whiten these pictures, where the network "
        "allows that; all that it will ever know comes from them. "
        "This is what the other four have to beat. With few pictures such a network easily remembers them one by one "
        "instead of learning what makes a sign.",
        transfers=False,
    ),
    Variant(
        "signs-frozen",
        "Frozen features",
        "The backbone was trained on other pictures before, and stays exactly as it is: it turns each picture into a "
        "row of numbers, its features. They are computed once and kept, and only the last layer, which weighs them, "
        "learns. That takes seconds, and shows how much of what the backbone knows is of use here.",
    ),
    Variant(
        "signs-frozen-augmented",
        "Frozen, augmented",
        "The backbone still stays as it is, but each epoch sees every picture anew: turned, shifted, sheared, zoomed "
        "or mirrored. The last layer cannot lean on where a hand happens to be. The price: the features of a changed "
        "picture have to be computed again every time.",
    ),
    Variant(
        "signs-finetune",
        "Fine-tuned",
        "The last blocks of the backbone may change too, at a lower rate than the new last layer, so that what they "
        "know is bent towards hands and not washed away. The early blocks, which see edges and colours, stay.",
    ),
    Variant(
        "signs-best",
        "Fine-tuned, our best",
        "The best that we have found: the whole network learns, with augmentation that suits hands, a learning rate "
        "that rises first and then falls, and softer targets, so that the network is not rewarded for being too sure.",
    ),
)


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
