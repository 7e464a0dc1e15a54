"""The tables of a recipe: every key with its default, in one place."""

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from pellucid.base.settings.checks import check, check_known
from pellucid.data.mask_settings import MaskSettings
from pellucid.training.averaging import WeightAverage
from pellucid.training.device import check_device
from pellucid.training.options import BATCH_NORMS
from pellucid.training.threads import Threads, check_threads
from pellucid.training.trackers import TRACKERS


@dataclass(frozen=True)
class About:
    """[recipe]: name, seed and device.

    about: a description in one line. name: the name of run folders, "" for the file's name. seed: the seed of all
    random draws. threads: the number of PyTorch's CPU threads, 0 for all cores; tiny networks are fastest with 1. With
    "auto", the fastest number for training steps is measured before the first step and written into manifest.json; a
    resumed training uses it again. With distributed.exact = false, it is measured again when the throughput drops.
    device: "cpu", "cuda", "cuda:1", "mps" or "auto" for the fastest available. then: a recipe to train afterwards, for
    comparison, with the same overrides.
    """

    about: str = ""
    name: str = ""
    seed: int = 0
    threads: Threads = 0
    device: str = "cpu"
    then: str = ""

    def __post_init__(self) -> None:
        """Raise PellucidError for invalid values."""
        check(0 <= self.seed < 2**63, "recipe.seed", "a whole number from 0", self.seed)
        check_device(self.device)
        check_threads("recipe.threads", self.threads)
        is_plain = all(
            character.isalnum() or character in "-_." for character in self.name
        ) and not self.name.startswith((".", "-"))
        check(
            is_plain and len(self.name) <= 100, "recipe.name", "letters, digits, '-' and '_' (100 at most)", self.name
        )

    @property
    def fixed_threads(self) -> int:
        """The number of threads outside of trainings, for which nothing is measured: 0, all cores, for "auto"."""
        return 0 if self.threads == "auto" else self.threads


@dataclass(frozen=True)
class Data(MaskSettings):
    """[data]: training, validation and test data.

    name: a data set of `pellucid data list`, "xor", or the path of an image folder or zip. validation: this fraction of
    the training images is held out for the curves, early stopping and the choice of the best weights; with 0 the curves
    show the test images, and the last weights are the result. limit: use only this number of training images, the first
    ones; 0 for all. standardize: scale each channel to mean 0 and standard deviation 1. size: for image folders, the
    height and width in pixels to resize to, 0 to leave the size unchanged; for annotated objects and masks, the
    longest side, with the other in proportion (masks only with stream). mode: colour or grey, for image folders.
    stream: decode image files when a batch needs them, for data sets larger than memory; the trained weights are the
    same as without. Annotated objects are always streamed. skip: leave out images that are missing or cannot be read,
    up to a tenth of them, with a note; by default they are refused. check: for image folders, leave out all images that
    cannot be read, keep near duplicates in one part, split by the files' contents, and calibrate the trained classifier
    on held-out images; `pellucid gestures train` sets it. targets: "objects" or "masks", for data with both. mask_...:
    how masks are read where that is not recognized: the names of the folders of images and of masks (mask_folders),
    the end of the names of masks (mask_ending), whether their pixels are values or colours (mask_kind), lines such as
    "255: cell" or "128,0,0: cell" (mask_classes), values or colours without a class (mask_ignored), and whether other
    pixels are read as the nearest class (mask_nearest). For a table of labels, what is empty is recognized. files:
    the column of file names. columns: those of the labels. split: that of the parts. labels: whether a picture has one
    label or several. separator: between the labels in a cell. units: of the numbers.
    """

    name: str = "digits"
    validation: float = 0.0
    limit: int = 0
    standardize: bool = False
    size: int = 0
    mode: Literal["RGB", "L"] = "RGB"
    stream: bool = False
    skip: bool = False
    check: bool = False
    files: str = ""
    columns: tuple[str, ...] = ()
    split: str = ""
    labels: Literal["auto", "one", "several"] = "auto"
    separator: str = ""
    units: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise PellucidError for invalid values."""
        check(bool(self.name), "data.name", "a data set or a path", self.name)
        super().__post_init__()
        check(0 <= self.validation < 1, "data.validation", "from 0 to less than 1", self.validation)
        check(self.limit >= 0, "data.limit", "0 (all) or more", self.limit)
        check(0 <= self.size <= 8000, "data.size", "from 0 (unchanged) to 8000 pixels", self.size)


@dataclass(frozen=True)
class Start:
    """[start]: initial weights that are not drawn at random.

    weights: a trained model whose `features` are copied: a pretrained model's name, a run folder, a weights file of
    pellucid, or a published file that `pellucid weights list` names; images are then scaled as for that model, unless
    data.standardize is true. whiten: the path of the first convolution, such as features.stem.conv, whose filters are
    set to whiten patches of the training images. linear: whether the last layer starts as a linear model of its inputs,
    fitted to the training images by ridge regression, for classes and several labels.
    """

    weights: str = ""
    linear: bool = False
    whiten: str = ""

    def __post_init__(self) -> None:
        """Raise PellucidError if both are given."""
        check(not (self.weights and self.whiten), "start.whiten", "left out if start.weights is given", self.whiten)


@dataclass(frozen=True)
class Train:
    """[train]: length and settings of the training.

    minutes: the time that the training may take: the number of epochs that fits is measured on this machine, and
    replaces `epochs` in the recipe of the run; 0 for `epochs`. clip: the maximum global norm of the gradients, 0 for no
    limit. average: the decay of the moving average of the weights, which is used in every evaluation and saved as the
    result; 0 for none; "start" for the mean of the initial and the trained weights. early_stopping: the number of
    epochs without a better value of `monitor` after which training ends, 0 for never. monitor: the value that chooses
    the best weights of a run with data.validation; "auto" for the accuracy, or the loss if there is no accuracy.
    checkpoint_seconds: the time between two checkpoints within an epoch. metrics: names of METRICS to report with the
    loss; "none" for the default of the loss: the accuracy for classes, the mean absolute error for regression. frozen:
    patterns of parameter paths that are not updated, such as "features.*". rates: "pattern=factor", a factor of the
    learning rate for the paths that match; the last match counts. keep: epochs after which the weights are kept in
    separate files; 0 for the initial weights. accumulate: the number of parts of a batch that a process computes one
    after another, which takes less memory; batch norm takes the statistics of each part. log: trackers that also
    receive the curves and the settings: "tensorboard", "mlflow", "wandb"; the extras of these names install them.
    """

    epochs: int = 10
    minutes: float = 0.0
    batch_size: int = 32
    precision: Literal["float32", "bf16"] = "float32"
    clip: float = 0.0
    average: WeightAverage = 0.0
    early_stopping: int = 0
    monitor: Literal["auto", "val_loss", "val_accuracy", "val_miou", "val_ap"] = "auto"
    checkpoint_seconds: float = 60.0
    metrics: tuple[str, ...] | None = None
    frozen: tuple[str, ...] = ()
    rates: tuple[str, ...] = ()
    keep: tuple[int, ...] = ()
    accumulate: int = 1
    log: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise PellucidError for invalid values."""
        check(1 <= self.epochs <= 10**6, "train.epochs", "from 1 to 1,000,000", self.epochs)
        check(0 <= self.minutes <= 10**5, "train.minutes", "from 0 (off) to 100,000", self.minutes)
        check(1 <= self.batch_size <= 10**6, "train.batch_size", "from 1 to 1,000,000", self.batch_size)
        check(self.clip >= 0, "train.clip", "0 (off) or more", self.clip)
        is_average = self.average == "start" or 0 <= float(self.average) < 1
        check(is_average, "train.average", "'start', or from 0 (off) to less than 1", self.average)
        check(self.early_stopping >= 0, "train.early_stopping", "0 (off) or more epochs", self.early_stopping)
        check(self.accumulate >= 1, "train.accumulate", "1 (off) or more", self.accumulate)
        seconds = self.checkpoint_seconds
        check(seconds > 0 and math.isfinite(seconds), "train.checkpoint_seconds", "more than 0", seconds)
        for name in self.log:
            check_known("train.log: no tracker", name, TRACKERS)
        for epoch in self.keep:
            check(0 <= epoch <= self.epochs, "train.keep", f"epochs from 0 to {self.epochs}", epoch)
        for rate in self.rates:
            pattern, _, factor = rate.rpartition("=")
            is_valid = bool(pattern) and _is_positive(factor)
            check(is_valid, "train.rates", 'a list of "pattern=factor", each factor above 0', rate)

    def factors(self) -> dict[str, float]:
        """Return the factors of `rates` by pattern."""
        return {pattern: float(factor) for pattern, _, factor in (rate.rpartition("=") for rate in self.rates)}


@dataclass(frozen=True)
class Distributed:
    """[distributed]: the training on many processes, which torchrun starts.

    shards: the number of parts into which each batch is divided for the processes; 0 for train.accumulate times the
    number of processes at the run's beginning. exact: whether the same number of shards gives the same bits with any
    number of processes; if false, each process computes its part of a batch in one piece. batch_norm: the examples
    whose statistics it uses in training: each "shard", or without exact, the part of a process, "local", or the entire
    batch, "sync"; "" for "shard" or "local". bucket_mb: the megabytes of gradients that processes exchange at a
    time, during the backward pass. shard_optimizer: whether each process keeps only its part of the optimizer's state.
    timeout: the seconds after which a process that does not respond ends the others; it must exceed the time that the
    first process needs to download missing data, and to write a checkpoint and pictures.
    """

    shards: int = 0
    exact: bool = True
    batch_norm: str = ""
    bucket_mb: float = 4.0
    shard_optimizer: bool = False
    timeout: float = 600.0

    def __post_init__(self) -> None:
        """Raise PellucidError for invalid values."""
        check(self.shards >= 0, "distributed.shards", "0 (the number of processes) or more", self.shards)
        known_text = f"one of {', '.join(BATCH_NORMS)}"
        check(self.batch_norm in ("", *BATCH_NORMS), "distributed.batch_norm", known_text, self.batch_norm)
        check(0 < self.bucket_mb <= 10**6, "distributed.bucket_mb", "above 0, at most 1,000,000", self.bucket_mb)
        check(1 <= self.timeout <= 10**6, "distributed.timeout", "from 1 to 1,000,000 seconds", self.timeout)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `fit`."""
        return {
            **{key: value for key, value in as_table(self).items() if key != "timeout"},
            "shards": self.shards or None,
        }


@dataclass(frozen=True)
class NamedPart:
    """[network], [objective], [loss], [optimizer], [schedule] or [regularizer]: a part's name and all its arguments."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def as_table(value: Any) -> dict[str, Any]:
    """Return a table's keys and values."""
    keys = sorted(fields(value), key=lambda key: bool(key.kw_only))  # in the order of the arguments
    return {key.name: getattr(value, key.name) for key in keys}
