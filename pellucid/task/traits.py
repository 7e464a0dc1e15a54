"""Traits of examples: a few numbers of each input and each target, by which the parts of data are compared."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.data.source import Batch
from pellucid.ops.image_objects import Objects
from pellucid.task.registered import task_of
from pellucid.task.values import MISSING_INPUTS, OF_CLASS, OF_PAIR, DataTrait

CHUNK_SIZE = 64  # images of one size whose traits are computed together
MAX_COLUMNS = 8  # of targets whose means are compared
MAX_CLASSES = 100  # whose shares are compared
MAX_COLOUR = 2 / 255  # mean difference of the channels of an image without colours
MIN_REPEATED = 0.05  # fraction of the examples with one value
MIN_VALUES = 10  # different values of a feature; with fewer, a far value may be a class
MIN_FAR = 10.0  # distance from the median, in distances of the quartiles, from which a value is far from the others
LOW, HIGH, HEIGHT, WIDTH = "smallest value", "largest value", "height", "width"  # traits, or their beginnings
Traits = dict[str, DataTrait]  # by name


def is_image(x: Tensor) -> bool:
    """Return whether inputs (N, ...) are images of more than one pixel."""
    return x.dim() == 4 and x.shape[2] * x.shape[3] > 1


def has_colours(x: Tensor) -> Tensor:
    """Return whether each image of x (N, C, H, W), floats of 0 to 1, has pixels whose channels differ, (N,)."""
    return (x.amax(1) - x.amin(1)).mean((1, 2)) > MAX_COLOUR


def input_traits(examples: Sequence[Batch]) -> Traits:
    """Return the traits of the images, or of the vectors, of examples."""
    inputs = [example.images[0] for example in examples]
    return image_traits(inputs) | _vector_traits(inputs)


def target_traits(model: Any, examples: Sequence[Batch], classes: Sequence[str] | None = None) -> Traits:
    """Return the traits of the targets of examples: those of the task of a model, or else of plain targets.

    model: a pellucid.Model, or None. classes: class names, if there is no model.
    """
    targets = [example.targets[0] for example in examples]
    task_traits = None if model is None else task_of(model).target_traits(model, targets)
    if task_traits is not None:
        return {
            name: trait if isinstance(trait, DataTrait) else DataTrait(trait) for name, trait in task_traits.items()
        }
    names = classes if model is None else target_names(model)
    result = plain_target_traits(targets, names, ignored_class(model))
    is_pair = [
        isinstance(target, Tensor) and target.is_floating_point() and target.shape == example.images[0].shape
        for example, target in zip(examples, targets, strict=True)
    ]
    if all(is_pair) and all(is_image(example.images) for example in examples):
        changes = [
            (float_images(example.images)[0] - y).abs().mean() for example, y in zip(examples, targets, strict=True)
        ]
        result["mean difference of target and input images"] = DataTrait(torch.stack(changes), OF_PAIR)
    return result


def target_names(model: Any) -> Sequence[str] | None:
    """Return the names of a model's key-points, of the columns of its table, or of its classes; None without names."""
    described = model.preprocess.get("keypoints") or model.preprocess.get("table") or {}
    return described.get("names") or model.classes


def received_traits(value_ranges: Sequence[tuple[float, float]], shapes: Sequence[Sequence[int]]) -> Traits:
    """Return the smallest and the largest value of inputs as a network receives them, and the sizes of images.

    value_ranges: both values of each input. shapes: of the inputs, (C, H, W) for images.
    """
    low, high = torch.tensor(value_ranges, dtype=torch.float64).T
    result = {LOW: DataTrait(low), HIGH: DataTrait(high)}
    if all(len(shape) == 3 for shape in shapes):
        result |= size_traits([(shape[1], shape[2]) for shape in shapes])
    return result


def size_traits(sizes: Sequence[tuple[int, int]], of: str = "the images") -> Traits:
    """Return the heights and the widths of images as traits."""
    height, width = torch.tensor(sizes, dtype=torch.float64).T
    return {f"{HEIGHT} of {of}": DataTrait(height), f"{WIDTH} of {of}": DataTrait(width)}


def image_traits(images: Sequence[Tensor], prefix: str = "") -> Traits:
    """Return the brightness, the contrast and the sharpness of images (C, H, W), and traits of colours; {} for others.

    prefix: of the names.
    """
    if not all(is_image(image[None]) for image in images):
        return {}
    has_one_shape = len({image.shape for image in images}) == 1
    group_size = CHUNK_SIZE if has_one_shape else 1
    groups = (torch.stack([*images[k : k + group_size]]) for k in range(0, len(images), group_size))
    group_traits = [_stacked_image_traits(float_images(x)) for x in groups]
    names = set.intersection(
        *({*traits} for traits in group_traits)
    )  # grey images among others have no traits of colours
    return {
        f"{prefix}{name}": DataTrait(torch.cat([traits[name] for traits in group_traits]))
        for name in group_traits[0]
        if name in names
    }


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
    return {name: DataTrait(has_value, MISSING_INPUTS) for name, has_value in result.items()}


def _is_far(y: Tensor, others: Tensor) -> Tensor:
    """Return whether each value of y (n,) is far from the values `others` (m,)."""
    low, median, high = others.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=others.dtype))
    return ((y - median).abs() > MIN_FAR * (high - low)) & (high > low)


def plain_target_traits(
    targets: Sequence[Any], class_names: Sequence[str] | None, ignored: int | None = None
) -> Traits:
    """Return the traits of targets that are objects, key-points, classes, values, masks or images; {} for others.

    ignored: the label that the loss ignores.
    """
    if all(isinstance(target, Objects) for target in targets):
        return _object_traits(targets, class_names or ())
    if not all(isinstance(target, Tensor) for target in targets) or len({target.dtype for target in targets}) > 1:
        return {}
    if len({target.shape for target in targets}) > 1:
        return _class_traits(*_padded(targets, ignored), class_names or ())
    if targets[0].is_floating_point():
        return _float_traits(targets, class_names or ())
    y = torch.stack([*targets])
    if _are_labels(y, class_names or ()):
        return _label_traits(y, class_names or ())
    return _class_traits(y.reshape(len(y), -1), ignored, class_names or ())


def _float_traits(targets: Sequence[Tensor], names: Sequence[str]) -> Traits:
    """Return the traits of target images, key-points, several labels or values."""
    y = torch.stack([*targets])
    if y.dim() == 4:
        return image_traits(targets, "target images: ")
    if is_keypoints(y[0]):
        return _keypoint_traits(y, names)
    if _are_labels(y, names):
        return _label_traits(y, names)
    return _value_traits(y.reshape(len(y), -1), names) if y.dim() <= 2 else {}


def _are_labels(y: Tensor, names: Sequence[str]) -> bool:
    """Return whether targets (n, ...) are 0 or 1 for each of several classes."""
    return y.dim() == 2 and y.shape[1] == len(names) > 1 and bool(((y == 0) | (y == 1)).all())


def ignored_class(model: Any) -> int | None:
    """Return the label that the loss of a model ignores; None without a model, and if it ignores none."""
    return getattr(getattr(getattr(model, "objective", None), "loss", None), "ignore", None)


def is_keypoints(target: Tensor) -> bool:
    """Return whether a target is the key-points of one object, (K, 3): x, y and visibility."""
    return target.dim() == 2 and target.shape[1] == 3 and target.is_floating_point()


def _object_traits(targets: Sequence[Objects], class_names: Sequence[str]) -> Traits:
    """Return the mean position and size of the boxes of each image, and their number by class, (n,) each.

    Positions and sizes are NaN for images without boxes. Crowds are left out, since training ignores them.
    """
    targets = [objects if objects.crowd is None else objects.take(~objects.crowd) for objects in targets]
    centres = torch.stack([((objects.boxes[:, :2] + objects.boxes[:, 2:]) / 2).mean(0) for objects in targets])
    sizes = torch.stack([(objects.boxes[:, 2:] - objects.boxes[:, :2]).mean(0) for objects in targets])
    result = {
        "x of the boxes' centres": DataTrait(centres[:, 0]), "y of the boxes' centres": DataTrait(centres[:, 1]),
        "width of the boxes": DataTrait(sizes[:, 0]), "height of the boxes": DataTrait(sizes[:, 1]),
        "boxes in an image": DataTrait(torch.tensor([float(len(objects)) for objects in targets])),
        "images without boxes": DataTrait(torch.tensor([not len(objects) for objects in targets])),
    }  # fmt: skip
    for label in torch.cat([objects.labels for objects in targets]).unique().tolist():
        counts = torch.tensor([float((objects.labels == label).sum()) for objects in targets])
        result[f"boxes of class {class_text(label, class_names)} in an image"] = DataTrait(counts, OF_CLASS)
    return result


def _keypoint_traits(points: Tensor, names: Sequence[str]) -> Traits:
    """Return the mean position of the labelled points (n, K, 3) of each image, and whether each point is labelled."""
    labelled = points[..., 2] > 0
    position = (points[..., :2] * labelled[..., None]).sum(1) / labelled.sum(1, keepdim=True)  # NaN without points
    result = {"x of the key-points": DataTrait(position[:, 0]), "y of the key-points": DataTrait(position[:, 1])}
    for k in range(points.shape[1]):
        result[f"share of labels of key-point {class_text(k, names)}"] = DataTrait(labelled[:, k].double(), OF_CLASS)
    return {**result, "images without key-points": DataTrait(~labelled.any(1))}


def _padded(masks: Sequence[Tensor], ignored: int | None) -> tuple[Tensor, int]:
    """Return masks of several sizes as rows (n, positions), and the label that fills them and is ignored."""
    if any(mask.dim() != 2 or mask.is_floating_point() for mask in masks):
        return torch.full((len(masks), 1), -1), -1
    label = -1 if ignored is None else ignored
    rows = [mask.flatten().short() for mask in masks]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=label), label


def _label_traits(y: Tensor, names: Sequence[str]) -> Traits:
    """Return whether each example has each of several classes; y: (n, classes), 0 or 1."""
    result = {
        f"share of class {class_text(label, names)}": DataTrait(y[:, label].double(), OF_CLASS)
        for label in range(min(len(names), MAX_CLASSES))
    }
    return {**result, "examples without a class": DataTrait(~y.bool().any(1))}


def _value_traits(y: Tensor, names: Sequence[str]) -> Traits:
    columns = names if len(names) == y.shape[1] else [f"column {k}" for k in range(y.shape[1])]
    result = {f"{column} of the targets": DataTrait(y[:, k]) for k, column in enumerate(columns[:MAX_COLUMNS])}
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


def _class_traits(y: Tensor, ignored: int | None, names: Sequence[str]) -> Traits:
    """Return the share of each class in the values (n, positions) of each target, without ignored ones."""
    y = y.long()  # uint8 would wrap around below
    labels = [label for label in y.unique().tolist() if label >= 0 and label != ignored][:MAX_CLASSES]
    n_counted = (
        ((y != ignored) if ignored is not None else torch.ones_like(y)).sum(1).double()
    )  # NaN without any labels
    result = {
        f"share of class {class_text(label, names)}": DataTrait((y == label).sum(1) / n_counted, OF_CLASS)
        for label in labels
    }
    if y.shape[1] > 1:
        largest = y.max() + 1
        low, high = (
            torch.where(y == ignored, filler, y) if ignored is not None else y for filler in (largest, y.min() - 1)
        )
        result["masks of a single class"] = DataTrait(low.amin(1) == high.amax(1))
    return result


def class_text(label: int, names: Sequence[str]) -> str:
    """Return the index of a class, and its name if it has one."""
    return f"{label} ({names[label]})" if label < len(names) else str(label)
