"""The description of a model in its weights file, checked value by value."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from pellucid.calibration.confidence import Confidence
from pellucid.calibration.familiarity import Familiarity
from pellucid.combine import Combinator, Fork, Graph, Parallel, Sequential, Shared
from pellucid.config import (
    LIMITS_HINT,
    from_config,
    loss_from_config,
    metric_from_config,
    part_from_config,
    raised,
)
from pellucid.data import FeatureStats
from pellucid.detectors import DETECTOR_CLASSES
from pellucid.errors import DamagedFileError, PellucidError
from pellucid.generators import GENERATOR_CLASSES
from pellucid.layers.base import Layer, Params
from pellucid.nested import map_tree
from pellucid.network.bounds import objective_within_bounds, within_bounds
from pellucid.network.ending import check_classes
from pellucid.network.inputs import FreeShape, free_outputs, nominal
from pellucid.objective import Objective
from pellucid.plugins import load_plugins
from pellucid.run.folder import RunFolder
from pellucid.run.weights import read_weights

T = TypeVar("T")
OBJECTIVES = (*DETECTOR_CLASSES, *GENERATOR_CLASSES)  # the built-in objectives that a file may name
MAX_AXIS = 1 << 20  # the largest size of an input's axis
MAX_UNIT_STD = 0.5  # the largest standard deviation of values from 0 to 1
MAX_SIZE = 1 << 22  # pixels to which images are resized
# Keys of the preprocessing: the name of the data, the mean and standard deviation of each channel, the digests of the
# held-out files, the object and the names of its key-points, and the size of the images.
PREPROCESS = ("data", "mean", "std", "held_out", "keypoints", "size")


def rebuilt(
    kind: Callable[..., T],
    about: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    custom: Sequence[Any],
    trusted: bool = False,
) -> tuple[T, Params, FreeShape, Any]:
    """Return the model that a weights file describes, its parameters on "meta", and its input and output shapes.

    kind: the class Model. about: the description. custom: user-defined classes that the file may name. trusted: see
    `within_bounds`, for the files of this package. Raises
    PellucidError for an invalid description, and for a network beyond the bounds of `pellucid.network.bounds`.
    """
    load_plugins()
    precision = about.get("precision", "float32")
    if precision not in ("float32", "float64"):
        raise PellucidError(f"precision must be float32 or float64, not {precision!r:.40}")
    try:
        has_objective = "objective" in about
        metrics = of_kind(about.get("metrics", []), list, "metrics must be a list")
        model: Any = kind(
            part_from_config(about["objective"], [*OBJECTIVES, *custom])
            if has_objective
            else from_config(about.get("network"), custom),
            *(() if has_objective else (loss_from_config(about.get("loss"), custom),)),
            metrics=[metric_from_config(metric, custom) for metric in metrics],
            classes=None if about.get("classes") is None else texts(about["classes"]),
            preprocess=of_kind(about.get("preprocess", {}), dict, "preprocess must be an object"),
            precision=precision,
        )
        model.custom = tuple(custom)
        if "confidence" in about:
            model.confidence = Confidence.from_json(about["confidence"])
        shape = image_shape(about.get("input_shape"))
        shapes: dict[str, tuple[Any, Any]] = {}
        if has_objective:  # only the objective can compute the inputs of its networks
            params, out = objective_within_bounds(model.objective, nominal(shape), trusted=trusted)
            out = free_outputs(shape, model.objective.init, params, out)
            check_size_within_bounds(model.objective, shape, model.preprocess, trusted)
            return model, map_tree(partial(in_precision, precision=precision), params), shape, out
        params, out = within_bounds(model.net, nominal(shape), shapes, trusted=trusted)
        out = free_outputs(shape, model.net.init, params, out)
        check_size_within_bounds(model.objective, shape, model.preprocess, trusted)
        check_classes(out, model.classes)
        model.familiarity = Familiarity.from_json(about.get("familiarity"), tensors, model.net, shapes)
    except (RuntimeError, ArithmeticError, LookupError, AttributeError, TypeError, ValueError) as error:
        if isinstance(error, PellucidError):
            raise
        raise PellucidError(f"no such network can exist ({' '.join(str(error).split())[:200]})") from error
    return model, map_tree(partial(in_precision, precision=precision), params), shape, out


def check_size_within_bounds(
    objective: Objective, shape: FreeShape, preprocess: Mapping[str, Any], trusted: bool = False
) -> None:
    """Raise PellucidError unless images of `preprocess.size` are within the bounds of the objective's networks."""
    size = preprocess.get("size")
    if size is None or len(shape) != 3 or not (objective.any_size or None in shape):
        return
    height, width = (size, size) if isinstance(size, int) else size
    if height * width > raised(MAX_SIZE):
        raise PellucidError(
            f"preprocess: size {size!r:.40} is {height * width:,} pixels, above {raised(MAX_SIZE):,}; {LIMITS_HINT}"
        )
    try:
        objective_within_bounds(objective, (shape[0], height, width), trusted=trusted)
    except PellucidError as error:
        raise PellucidError(f"preprocess: size {size!r:.40}: {error}") from error


def feature_stats(preprocess: Mapping[str, Any]) -> FeatureStats | None:
    """Return the statistics "mean" and "std", or None; raises PellucidError for invalid values and unknown keys."""
    unknown = [name for name in preprocess if name not in PREPROCESS]
    if unknown:
        raise PellucidError(
            f"preprocess: {unknown[0]!r:.40} is unknown, and ignoring it would make predictions wrong; "
            f"known: {', '.join(PREPROCESS)}"
        )
    if not isinstance(preprocess.get("data", ""), str):
        raise PellucidError(f"preprocess: data must be the name of the data, not {preprocess['data']!r:.40}")
    points = preprocess.get("keypoints", {"of": "", "names": []})
    if not isinstance(points, dict) or not isinstance(points.get("of"), str) or not _texts(points.get("names")):
        raise PellucidError(
            f"preprocess: keypoints must be the object and the names of its points, "
            f'{{"of": "face", "names": ["p0", ...]}}, not {points!r:.40}'
        )
    size = preprocess.get("size", 1)
    sides = size if isinstance(size, list | tuple) and len(size) == 2 else [size]
    if not all(type(side) is int and side > 0 for side in sides):
        raise PellucidError(
            f"preprocess: size must be the longest side of images, or their height and width, not {size!r:.40}"
        )
    if "mean" not in preprocess and "std" not in preprocess:
        return None
    lists = [preprocess.get(name) for name in ("mean", "std")]
    valid = all(isinstance(list_, list | tuple) and all(type(v) in (int, float) for v in list_) for list_ in lists)
    mean, std = (
        torch.tensor(list_, dtype=torch.float32)[:, None, None] if valid else torch.zeros(0) for list_ in lists
    )
    if not valid or not 0 < len(mean) == len(std) or not bool(torch.isfinite(mean).all() and (std > 0).all()):
        raise PellucidError("preprocess: mean and std must be lists of numbers, one per channel, with std above 0")
    return FeatureStats(mean, std)


def expects_unit_range(preprocess: Mapping[str, Any], stats: FeatureStats | None) -> bool:
    """Return whether float images must have values of about 0 to 1 before they are standardized.

    They must if the statistics of the preprocessing are possible for such values, whose standard deviation is at most
    0.5, or if the preprocessing names data without statistics, since images of data are scaled from 0..255 to 0..1.
    """
    if stats is None:
        return "data" in preprocess
    return bool((stats.mean >= 0).all() and (stats.mean <= 1).all() and (stats.std <= MAX_UNIT_STD).all())


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def scaling(stats: FeatureStats) -> dict[str, list[float]]:
    """Return statistics as the entries "mean" and "std" of the preprocessing, which `feature_stats` reads."""
    return {"mean": stats.mean.flatten().tolist(), "std": stats.std.flatten().tolist()}


def image_shape(shape: Any) -> FreeShape:
    """Return an input shape of positive integers, None for a free height or width; raises PellucidError otherwise."""
    sizes = tuple(shape) if isinstance(shape, Sequence) else ()
    fixed = [size for k, size in enumerate(sizes) if size is not None or len(sizes) != 3 or k == 0]
    if not sizes or not all(type(size) is int and 0 < size <= MAX_AXIS for size in fixed):
        raise PellucidError(
            f"input_shape must be whole numbers of at least 1, such as (1, 28, 28), or (3, None, None) for any size, "
            f"not {shape!r}"
        )
    return sizes


def widened(tensor: Tensor) -> Tensor:
    """Return a float16 tensor, which saves space in files, as float32; any other tensor unchanged."""
    return tensor.float() if tensor.dtype is torch.float16 else tensor


def in_precision(tensor: Tensor, precision: str) -> Tensor:
    """Return a floating-point tensor as float64 if `precision` is "float64"; any other tensor unchanged."""
    return tensor.double() if precision == "float64" and tensor.is_floating_point() else tensor


def of_kind(value: Any, kind: type[T], otherwise: str) -> T:
    """Return `value` if its type is `kind`; raises PellucidError with the text `otherwise` if not."""
    if not isinstance(value, kind):
        raise PellucidError(otherwise)
    return value


def texts(value: Any, what: str = "classes") -> list[str]:
    """Return the names of classes or of `what`; raises PellucidError unless they are a list of strings."""
    if not all(isinstance(text, str) for text in of_kind(value, list, f"{what} must be a list of strings")):
        raise PellucidError(f"{what} must be a list of strings")
    return value


def as_begun(net: Layer, folder: RunFolder) -> Layer:
    """Return a recipe's network with the layer names in the run's weights, which an older version may have written.

    Both networks must have the same layers in the same order, see `unnamed`; otherwise, and if no weights can be read,
    `net` is returned, and loading the weights reports what is wrong. Raises PellucidError for an invalid description.
    """
    for file in (folder.last, folder.previous, folder.best):
        if file.is_file():
            try:
                _, about = read_weights(file)
            except DamagedFileError:
                continue
            stored = from_config(about.get("network"))
            return stored if unnamed(stored) == unnamed(net) else net
    return net


def unnamed(net: Layer, leaf: Callable[[Layer], Any] = lambda layer: layer) -> list[Any]:
    """Return a network as nested lists without layer names, equal for the same layers connected in the same way.

    The layers of nested Sequentials form one list. leaf: returns what represents a layer that is not a combinator. A
    user-defined combinator is compared with the names of its layers.
    """
    kind = type(net)
    match net:
        case Sequential() if kind is Sequential:
            return [part for child in net.children.values() for part in unnamed(child, leaf)]
        case Parallel() | Fork() | Shared() if kind in (Parallel, Fork, Shared):
            return [(kind, [unnamed(child, leaf) for child in net.layers.values()])]
        case Graph() if kind is Graph:
            index = {name: k for k, name in enumerate((*net.inputs, *net.nodes))}
            nodes = [
                (index[layer] if isinstance(layer, str) else unnamed(layer, leaf), [index[name] for name in sources])
                for layer, *sources in net.nodes.values()
            ]
            return [(kind, len(net.inputs), nodes, [index[name] for name in net.outputs])]
        case Combinator():
            return [net]
        case _:
            return [leaf(net)]
