"""Differences of the training and the validation data, measured by a few traits of each image and each target."""

from collections.abc import Sequence
from math import inf, sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.data.source import Batch, Source
from pellucid.doctor.checks.class_imbalance import LACKED_CLASS
from pellucid.doctor.finding import Evidence, Finding
from pellucid.doctor.held_out import read_examples
from pellucid.doctor.inputs import has_colours, is_image
from pellucid.task import DataTrait, Task
from pellucid.task.values import MISSING_INPUTS, OF_CLASS, OF_PAIR
from pellucid.training.model import BaseModel

MAX_EXAMPLES = 200  # of each part of the data
CHUNK_SIZE = 64  # images of one size whose traits are computed together
MIN_EFFECT, MIN_DEVIATIONS = 0.5, 5.0  # difference of two means: in standard deviations, and in standard errors
LARGE_EFFECT, MIN_RATIO = 1.0, 1.5  # of large differences: in standard deviations, and the ratio of the means
MAX_SHOWN, MAX_IN_TEXT = 3, 2  # differences in the evidence, and in a sentence
MAX_COLUMNS = 8  # of targets whose means are compared
MAX_CLASSES = 100  # whose shares are compared
MIN_REPEATED = 0.05  # fraction of the examples with one value
MIN_VALUES = 10  # different values of a feature; with fewer, a far value may be a class
MIN_FAR = 10.0  # distance from the median, in distances of the quartiles, from which a value is far from the others
Traits = dict[str, DataTrait]  # by name


class TraitDifference(NamedTuple):
    """A trait whose means over training and over validation examples differ.

    size: in standard deviations. is_of_inputs: whether it is a trait of the inputs, not of the targets. kind: of the
    trait, see `DataTrait`.
    """

    trait: str
    train: float
    validation: float
    size: float
    is_of_inputs: bool = False
    kind: str = ""

    @property
    def is_of_class(self) -> bool:
        """Whether it is the share or the number of a class."""
        return self.kind == OF_CLASS

    @property
    def is_large(self) -> bool:
        """Whether it is larger than differences that are usual between sound data sets, such as shares of classes."""
        low, high = sorted((abs(self.train), abs(self.validation)))
        return self.size >= LARGE_EFFECT and (self.train * self.validation <= 0 or high >= MIN_RATIO * low)

    def __str__(self) -> str:
        """Return both means as text."""
        return f"{self.trait}: {self.train:.3g} in training, {self.validation:.3g} in validation"


def differences(task: Task, model: BaseModel, train: Source, validation: Source) -> list[TraitDifference]:
    """Return the clear differences of the traits of two parts of the data, the largest first."""
    examples = [read_examples(part, MAX_EXAMPLES, model.seed) for part in (train, validation)]
    found, of_inputs = list[TraitDifference](), input_traits([*examples[0], *examples[1]])
    for name, trait in (of_inputs | target_traits(task, model, [*examples[0], *examples[1]])).items():
        parts = trait.values.double().split([len(examples[0]), len(examples[1])])
        a, b = (part[~part.isnan()] for part in parts)
        if min(len(a), len(b)) < 2:
            continue
        difference, variances = abs(float(a.mean() - b.mean())), (float(a.var()), float(b.var()))
        error = sqrt(variances[0] / len(a) + variances[1] / len(b))
        size = difference / sqrt(sum(variances) / 2) if sum(variances) else inf
        is_rounding = difference <= 1e-6 * max(abs(float(a.mean())), abs(float(b.mean())))
        if not is_rounding and difference >= MIN_DEVIATIONS * error and size >= MIN_EFFECT:
            found.append(TraitDifference(
                name, float(a.mean()), float(b.mean()), size, name in of_inputs, trait.kind
            ))  # fmt: skip
    return sorted(found, key=lambda one: (-one.size, one.trait))


def one_sided_first(found: Sequence[TraitDifference]) -> list[TraitDifference]:
    """Return the differences, first those of which one part of the data has none."""
    return sorted(found, key=lambda one: bool(one.train and one.validation))


def as_evidence(found: Sequence[TraitDifference]) -> Evidence:
    """Return the largest differences as evidence."""
    return {f"difference_{k}": str(one) for k, one in enumerate(one_sided_first(found)[:MAX_SHOWN], 1)}


def as_text(found: Sequence[TraitDifference]) -> str:
    """Return the largest differences in brackets after a space; "" for none."""
    return f" ({'; '.join(map(str, one_sided_first(found)[:MAX_IN_TEXT]))})" if found else ""


def lacked_text(finding: Finding, found: Sequence[TraitDifference]) -> str:
    """Return in brackets the share of a class that a finding says training lacks; "" for other findings."""
    names_class = finding.path == "train" and finding.kind == LACKED_CLASS
    return as_text([one for one in found if one.is_of_class and not one.train][:1]) if names_class else ""


def traits(task: Task, model: BaseModel, examples: Sequence[Batch]) -> Traits:
    """Return the traits of the inputs and of the targets of examples, which are batches of one example each."""
    return input_traits(examples) | target_traits(task, model, examples)


def input_traits(examples: Sequence[Batch]) -> Traits:
    """Return the traits of the images, or of the vectors, of examples."""
    inputs = [example.images[0] for example in examples]
    return image_traits(inputs) | _vector_traits(inputs)


def target_traits(task: Task, model: BaseModel, examples: Sequence[Batch]) -> Traits:
    """Return the traits of the targets of examples: those of the task, or else of plain targets."""
    targets = [example.targets[0] for example in examples]
    of_task = task.target_traits(model, targets)
    if of_task is not None:
        return {name: one if isinstance(one, DataTrait) else DataTrait(one) for name, one in of_task.items()}
    result = plain_target_traits(
        targets, model.classes, getattr(getattr(model.objective, "loss", None), "ignore", None)
    )
    is_pair = [
        isinstance(target, Tensor) and target.is_floating_point() and target.shape == one.images[0].shape
        for one, target in zip(examples, targets, strict=True)
    ]
    if all(is_pair) and all(is_image(one.images) for one in examples):
        changes = [(float_images(one.images)[0] - y).abs().mean() for one, y in zip(examples, targets, strict=True)]
        result["mean difference of target and input images"] = DataTrait(torch.stack(changes), OF_PAIR)
    return result


def image_traits(images: Sequence[Tensor], prefix: str = "") -> Traits:
    """Return the brightness, the contrast and the sharpness of images (C, H, W), and traits of colours; {} for others.

    prefix: of the names.
    """
    if not all(is_image(image[None]) for image in images):
        return {}
    has_one_shape = len({image.shape for image in images}) == 1
    size = CHUNK_SIZE if has_one_shape else 1
    groups = (torch.stack([*images[k : k + size]]) for k in range(0, len(images), size))
    found = [_stacked_image_traits(float_images(x)) for x in groups]
    names = set.intersection(*({*one} for one in found))  # grey images among others have no traits of colours
    return {f"{prefix}{name}": DataTrait(torch.cat([one[name] for one in found])) for name in found[0] if name in names}


def _stacked_image_traits(x: Tensor) -> dict[str, Tensor]:
    contrast = x.std((1, 2, 3), correction=0)
    steps = (x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3)) + (x[..., 1:, :] - x[..., :-1, :]).abs().mean((1, 2, 3))
    result = {
        "brightness": x.mean((1, 2, 3)), "contrast": contrast, "sharpness": steps / contrast.clamp_min(1e-6),
    }  # fmt: skip
    if x.shape[1] != 3:
        return result
    result |= dict(zip(("red", "green", "blue"), x.mean((2, 3)).T, strict=True))
    colourfulness = (x.amax(1) - x.amin(1)).mean((1, 2))
    return result | {"colourfulness": colourfulness, "images without colours": ~has_colours(x)}


def _vector_traits(inputs: Sequence[Tensor]) -> Traits:
    """Return for vectors whether a feature has a value that many examples share, far from all others; {} for others."""
    if len({x.shape for x in inputs}) > 1 or inputs[0].dim() != 1:
        return {}
    x, result = torch.stack([*inputs]).double(), dict[str, Tensor]()
    for feature in x.T:
        values, counts = feature.unique(return_counts=True)
        value = float(values[counts.argmax()])
        name, is_repeated, others = f"inputs with the value {value:g}", feature == value, values[values != value]
        if (
            int(counts.max()) >= MIN_REPEATED * len(x)
            and len(values) > MIN_VALUES
            and bool(_is_far(feature, others)[is_repeated].any())
        ):
            result[name] = result.get(name, torch.zeros(len(x), dtype=torch.bool)) | is_repeated
    return {name: DataTrait(one, MISSING_INPUTS) for name, one in result.items()}


def _is_far(y: Tensor, others: Tensor) -> Tensor:
    """Return whether each value of y (n,) is far from the values `others` (m,)."""
    low, median, high = others.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=others.dtype))
    return ((y - median).abs() > MIN_FAR * (high - low)) & (high > low)


def plain_target_traits(
    targets: Sequence[Any], class_names: Sequence[str] | None, ignored: int | None = None
) -> Traits:
    """Return the traits of targets that are classes, values, masks of classes or images; {} for others.

    ignored: the label that the loss ignores.
    """
    if (
        not all(isinstance(target, Tensor) for target in targets)
        or len({(target.shape, target.dtype) for target in targets}) > 1
    ):
        return {}
    y = torch.stack([*targets])
    if y.is_floating_point() and y.dim() == 4:
        return image_traits(targets, "target images: ")
    if y.is_floating_point() and y.dim() <= 2:
        return _value_traits(y.reshape(len(y), -1))
    return {} if y.is_floating_point() else _class_traits(y.reshape(len(y), -1), class_names or (), ignored)


def _value_traits(y: Tensor) -> Traits:
    result = {f"column {k} of the targets": DataTrait(y[:, k]) for k in range(min(y.shape[1], MAX_COLUMNS))}
    values, counts = y[:, 0].unique(return_counts=True)
    if (
        y.shape[1] == 1
        and MIN_REPEATED * len(y) < int(counts.max()) < len(y)
        and int((counts == 1).sum()) >= len(counts) / 2
    ):
        value = float(values[counts.argmax()])
        result[f"targets that are exactly {value:g}"] = DataTrait(y[:, 0] == value)
    if y.shape[1] == 1 and len(values) > 2:
        result["targets far from all others"] = DataTrait(_is_far(y[:, 0], y[:, 0]))
    return result


def _class_traits(y: Tensor, names: Sequence[str], ignored: int | None) -> Traits:
    """Return the share of each class in the values (n, positions) of each target, without ignored ones."""
    labels = [label for label in y.unique().tolist() if label >= 0 and label != ignored][:MAX_CLASSES]
    count = ((y != ignored) if ignored is not None else torch.ones_like(y)).sum(1).double()  # NaN without any labels
    result = {
        f"share of class {class_text(label, names)}": DataTrait((y == label).sum(1) / count, OF_CLASS)
        for label in labels
    }
    if y.shape[1] > 1:
        largest = y.max() + 1
        low, high = (torch.where(y == ignored, out, y) if ignored is not None else y for out in (largest, y.min() - 1))
        result["masks of a single class"] = DataTrait(low.amin(1) == high.amax(1))
    return result


def class_text(label: int, names: Sequence[str]) -> str:
    """Return the index of a class, and its name if it has one."""
    return f"{label} ({names[label]})" if label < len(names) else str(label)
