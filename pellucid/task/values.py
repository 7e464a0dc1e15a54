"""Arguments and results of tasks: options, commands, results, figures of merit, recipes, and images to trace."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pellucid.base.text import percent

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.layers.base import Layer, Params
    from pellucid.losses.base import Loss
    from pellucid.report.sections import Section

OF_CLASS, OF_PAIR, MISSING_INPUTS = "class", "pair", "missing-inputs"  # kinds of a DataTrait


@dataclass(frozen=True)
class Option:
    """An option that one task adds to a command.

    kind: bool for a flag, Path for a file to write, otherwise the type of the value. metavar: the value in the help.
    """

    name: str
    help: str
    kind: type = bool
    metavar: str = "FILE"


@dataclass(frozen=True)
class Command:
    """A command: its name, its line in `pellucid --help`, and its module.

    The module has a function parser(), which returns a pellucid.command.args.Parser, and a function handle(args), which
    returns the exit code.
    """

    name: str
    about: str
    module: str


@dataclass(frozen=True)
class Evaluation:
    """The results of a model on held-out data: JSON values, and the same as lines of text."""

    values: Mapping[str, Any]
    lines: Sequence[str] = field(default_factory=list)


class Reported(NamedTuple):
    """What a task adds to the report of a run: sections, and the JSON values of files in its folder, by file name."""

    sections: "Sequence[Section]" = ()
    files: Mapping[str, Any] = {}


class Explained(NamedTuple):
    """The files of an explanation in a folder, and its results as JSON values and as lines of text."""

    values: Mapping[str, Any]
    lines: Sequence[str]
    folder: Path
    files: Sequence[Path]


class Request(NamedTuple):
    """The arguments of `pellucid explain` for one image; None for arguments that the user leaves out.

    model: its name. image: a file. default_folder: the output folder if `out` is None; tasks may append words to its
    name. data: the bytes of the image, if `image` is only its name.
    """

    model: str
    image: str
    target: str | None
    method: str | None
    out: str | None
    default_folder: Path
    data: bytes | None = None

    @property
    def image_source(self) -> str | bytes:
        """The file of the image, or its bytes."""
        return self.image if self.data is None else self.data

    def folder(self, *words: str) -> Path:
        """Return the output folder; words: appended to the name of the default one."""
        if self.out is not None:
            return Path(self.out)
        return self.default_folder.with_name("-".join((self.default_folder.name, *words)))


class Merit(NamedTuple):
    """A figure of merit of a task: its name in results and histories, its label, and its unit.

    unit: "%" for a fraction that is shown in per cent, otherwise a unit such as "dB", "" for none. is_error:
    whether smaller is better.
    """

    name: str
    label: str
    unit: str = "%"
    is_error: bool = False

    def text(self, value: float) -> str:
        """Return a value with its unit."""
        if not self.unit:
            return f"{value:.4g}"
        return percent(value) if self.unit == "%" else f"{value:.2f} {self.unit}"


class Baseline(NamedTuple):
    """A trivial model, fitted to the training data alone; a trained model below it has learned too little.

    name: in words, such as "a linear model of the pixels". predict: returns for the images of a batch, as the source
    yields them, outputs in the form of `Model.predict`'s.
    """

    name: str
    predict: Callable[[Any], Any]


class HeldOutScores(NamedTuple):
    """The score of each of N examples, higher is better.

    values: (N,), NaN for examples in which there is nothing to score, such as images without objects. Their mean is 1,
    or expected to be 1, for perfect outputs, and about 0 for useless ones; single scores may be below 0 or above 1.
    name: what the score measures, in words. weights: (N,), of the examples in the mean, such as those with which it is
    the mean recall; None for equal ones.
    """

    name: str
    values: "Tensor"
    weights: "Tensor | None" = None

    @property
    def weighted(self) -> "Tensor":
        """The values times the weights, float64, 0 where there is nothing to score; their mean is the score."""
        values = self.values.double().nan_to_num()
        return values if self.weights is None else values * self.weights


class DataTrait(NamedTuple):
    """Values (n,) of n examples; a bool is whether an example has the trait.

    kind: OF_CLASS for the share or the number of a class or a labelled point, OF_PAIR for the difference of target and
    input images, MISSING_INPUTS for a value that replaces missing ones; "" for other traits.
    """

    values: "Tensor"
    kind: str = ""


class TargetChange(NamedTuple):
    """Other targets, such as boxes in another unit, which the doctor tries.

    name: of the fault that the change undoes. description: a noun phrase for the changed targets. cause: a
    predicate of the targets, such as "are written in another unit". fix: in the imperative. apply: a function of one
    target and the size (H, W) of its image, () for other inputs, that returns the changed target; None if no change
    undoes the fault. unproven: whether a model's outputs show the fault, but no training with changed targets can prove
    it. key: distinguishes changes with the same name, by default the description.
    """

    name: str
    description: str
    cause: str
    fix: str
    apply: Callable[[Any, tuple[int, ...]], Any] | None
    unproven: bool = False
    key: str = ""

    @property
    def identity(self) -> str:
        """The name with the key."""
        return f"{self.name}/{self.key or self.description}"


class OwnRecipe(NamedTuple):
    """A recipe for a user's own data: the name of a built-in recipe, and the settings that replace its values.

    reason: why the recipe was chosen for these data, in words.
    """

    name: str
    settings: Mapping[str, Any]
    reason: str = ""


class Example(NamedTuple):
    """One image x (C, H, W) with a target (1, ...) of the loss of `model`.

    label: the target in words. chosen: how the target was chosen if the user gave none.
    """

    model: Any
    x: "Tensor"
    target: "Tensor"
    label: str
    chosen: str = "predicted"


class Traced(NamedTuple):
    """A model as one network with one loss: its parameters, and the inputs and targets of a pass."""

    net: "Layer"
    params: "Params"
    loss: "Loss"
    x: "Tensor"
    target: "Tensor"
