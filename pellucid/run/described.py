"""Rebuilding of models from their descriptions in weights files, with checks of every value."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from pellucid.base.errors import DamagedFileError, PellucidError
from pellucid.base.limits import LIMITS_HINT, MAX_DESCRIBED_AXIS, MAX_RESIZED_PIXELS, scaled_limit
from pellucid.base.plugins import load_plugins
from pellucid.calibration.confidence import Confidence
from pellucid.calibration.familiarity import Familiarity
from pellucid.combine import Combinator, Fork, Graph, Parallel, Sequential, Shared
from pellucid.data import FeatureStats
from pellucid.detectors import DETECTOR_CLASSES
from pellucid.extend.config import from_config, loss_from_config, metric_from_config, part_from_config
from pellucid.generators import GENERATOR_CLASSES
from pellucid.layers.base import Layer, Params
from pellucid.nested import map_tree
from pellucid.network.bounds import init_objective_within_bounds, init_within_bounds
from pellucid.network.ending import check_classes
from pellucid.network.inputs import FreeShape, free_output_shape, nominal_shape
from pellucid.objective import Objective
from pellucid.run.folder import RunFolder
from pellucid.run.weights import read_weights

T = TypeVar("T")
OBJECTIVES = (*DETECTOR_CLASSES, *GENERATOR_CLASSES)  # the built-in objectives that a file may name
MAX_UNIT_STD = 0.5  # the largest standard deviation of values from 0 to 1
# Keys of the preprocessing: the name of the data, the mean and standard deviation of each channel, the digests of the
# held-out files, the object and the names of its key-points, the size of the images, the columns of a table of labels,
# and the scores from which an object or a label counts.
PREPROCESS_KEYS = ("data", "mean", "std", "held_out", "keypoints", "size", "table", "thresholds")


# Keys of the entry "table" whose values are texts, and those whose values are lists of texts.
TABLE_TEXTS, TABLE_LISTS = ("kind", "files", "split", "separator"), ("columns", "names", "units")


def rebuild_model(
    model_class: Callable[..., T],
    about: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    custom: Sequence[Any],
    trusted: bool = False,
) -> tuple[T, Params, FreeShape, Any]:
    """Return the model that a weights file describes, its parameters on device "meta", its input and output shape.

    model_class: the class Model. about: the description. custom: user-defined classes that the file may name.
    trusted: see `init_within_bounds`; True for the files of this package.
    Raises PellucidError for an invalid description, and for a network beyond the bounds of `pellucid.network.bounds`.
    """
    load_plugins()
    precision = about.get("precision", "float32")
    if precision not in ("float32", "float64"):
        raise PellucidError(f"precision must be float32 or float64, not {precision!r:.40}")
    try:
        has_objective = "objective" in about
        metrics = check_type(about.get("metrics", []), list, "metrics must be a list")
        model: Any = model_class(
            part_from_config(about["objective"], [*OBJECTIVES, *custom])
            if has_objective
            else from_config(about.get("network"), custom),
            *(() if has_objective else (loss_from_config(about.get("loss"), custom),)),
            metrics=[metric_from_config(metric, custom) for metric in metrics],
            classes=None if about.get("classes") is None else check_strings(about["classes"]),
            preprocess=check_type(about.get("preprocess", {}), dict, "preprocess must be an object"),
            precision=precision,
        )
        model.custom = tuple(custom)
        if "confidence" in about:
            model.confidence = Confidence.from_json(about["confidence"])
        shape = image_shape(about.get("input_shape"))
        shapes: dict[str, tuple[Any, Any]] = {}
        if has_objective:  # only the objective can compute the inputs of its networks
            params, output_shape = init_objective_within_bounds(model.objective, nominal_shape(shape), trusted=trusted)
            output_shape = free_output_shape(shape, model.objective.init, params, output_shape)
            check_size_within_bounds(model.objective, shape, model.preprocess, trusted)
            return model, map_tree(partial(to_precision, precision=precision), params), shape, output_shape
        params, output_shape = init_within_bounds(model.net, nominal_shape(shape), shapes, trusted=trusted)
        output_shape = free_output_shape(shape, model.net.init, params, output_shape)
        check_size_within_bounds(model.objective, shape, model.preprocess, trusted)
        check_classes(output_shape, model.classes)
        model.familiarity = Familiarity.from_json(about.get("familiarity"), tensors, model.net, shapes)
    except (RuntimeError, ArithmeticError, LookupError, AttributeError, TypeError, ValueError) as error:
        if isinstance(error, PellucidError):
            raise
        raise PellucidError(f"no such network can exist ({' '.join(str(error).split())[:200]})") from error
    return model, map_tree(partial(to_precision, precision=precision), params), shape, output_shape


def check_size_within_bounds(
    objective: Objective, shape: FreeShape, preprocess: Mapping[str, Any], trusted: bool = False
) -> None:
    """Raise PellucidError unless images of `preprocess.size` are within the bounds of the objective's networks."""
    size = preprocess.get("size")
    if size is None or len(shape) != 3 or not (objective.any_size or None in shape):
        return
    height, width = (size, size) if isinstance(size, int) else size
    if height * width > scaled_limit(MAX_RESIZED_PIXELS):
        raise PellucidError(
            f"preprocess: size {size!r:.40} is {height * width:,} pixels, above {scaled_limit(MAX_RESIZED_PIXELS):,}; "
            f"{LIMITS_HINT}"
        )
    try:
        init_objective_within_bounds(objective, (shape[0], height, width), trusted=trusted)
    except PellucidError as error:
        raise PellucidError(f"preprocess: size {size!r:.40}: {error}") from error


def feature_stats(preprocess: Mapping[str, Any]) -> FeatureStats | None:
    """Return the statistics "mean" and "std", or None; raises PellucidError for invalid values and unknown keys."""
    unknown = [name for name in preprocess if name not in PREPROCESS_KEYS]
    if unknown:
        raise PellucidError(
            f"preprocess: {unknown[0]!r:.40} is unknown, and ignoring it would make predictions wrong; "
            f"known: {', '.join(PREPROCESS_KEYS)}"
        )
    if not isinstance(preprocess.get("data", ""), str):
        raise PellucidError(f"preprocess: data must be the name of the data, not {preprocess['data']!r:.40}")
    keypoints = preprocess.get("keypoints", {"of": "", "names": []})
    if (
        not isinstance(keypoints, dict)
        or not isinstance(keypoints.get("of"), str)
        or not _is_string_list(keypoints.get("names"))
    ):
        raise PellucidError(
            f"preprocess: keypoints must be the object and the names of its points, "
            f'{{"of": "face", "names": ["p0", ...]}}, not {keypoints!r:.40}'
        )
    _check_table(preprocess)
    size = preprocess.get("size", 1)
    sides = size if isinstance(size, list | tuple) and len(size) == 2 else [size]
    if not all(type(side) is int and side > 0 for side in sides):
        raise PellucidError(
            f"preprocess: size must be the longest side of images, or their height and width, not {size!r:.40}"
        )
    if "mean" not in preprocess and "std" not in preprocess:
        return None
    statistics = [preprocess.get(name) for name in ("mean", "std")]
    is_valid = all(
        isinstance(values, list | tuple) and all(type(value) in (int, float) for value in values)
        for values in statistics
    )
    mean, std = (
        torch.tensor(values, dtype=torch.float32)[:, None, None] if is_valid else torch.zeros(0)
        for values in statistics
    )
    if not is_valid or not 0 < len(mean) == len(std) or not bool(torch.isfinite(mean).all() and (std > 0).all()):
        raise PellucidError("preprocess: mean and std must be lists of numbers, one per channel, with std above 0")
    return FeatureStats(mean, std)


def _check_table(preprocess: Mapping[str, Any]) -> None:
    """Raise PellucidError unless the entries "table" and "thresholds", if they exist, are as training writes them."""
    thresholds = preprocess.get("thresholds", [])
    are_numbers = isinstance(thresholds, list | tuple) and all(type(value) in (int, float) for value in thresholds)
    if not are_numbers or not all(0 <= value <= 1 for value in thresholds):
        raise PellucidError(f"preprocess: thresholds must be probabilities, one per class, not {thresholds!r:.40}")
    about = preprocess.get("table", dict.fromkeys(TABLE_TEXTS, "") | dict.fromkeys(TABLE_LISTS, ()))
    is_valid = isinstance(about, dict) and {*about} == {*TABLE_TEXTS, *TABLE_LISTS}
    is_valid = is_valid and all(isinstance(about[key], str) for key in TABLE_TEXTS)
    if not is_valid or not all(_is_string_list(about[key]) for key in TABLE_LISTS):
        raise PellucidError(
            f"preprocess: table must have the texts {', '.join(TABLE_TEXTS)} and the lists {', '.join(TABLE_LISTS)}, "
            f"not {about!r:.40}"
        )


def expects_unit_range(preprocess: Mapping[str, Any], stats: FeatureStats | None) -> bool:
    """Return whether float images must have values of about 0 to 1 before they are standardized.

    They must if the statistics of the preprocessing are possible for such values, whose standard deviation is at most
    0.5, or if the preprocessing names data without statistics, since images of data sets are scaled to 0..1.
    """
    if stats is None:
        return "data" in preprocess
    return bool((stats.mean >= 0).all() and (stats.mean <= 1).all() and (stats.std <= MAX_UNIT_STD).all())


def _is_string_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)


def scaling_entries(stats: FeatureStats) -> dict[str, list[float]]:
    """Return statistics as the entries "mean" and "std" of the preprocessing, which `feature_stats` reads."""
    return {"mean": stats.mean.flatten().tolist(), "std": stats.std.flatten().tolist()}


def image_shape(shape: Any) -> FreeShape:
    """Return an input shape of positive integers, None for a free height or width; raises PellucidError otherwise."""
    sizes = tuple(shape) if isinstance(shape, Sequence) else ()
    required_sizes = [size for k, size in enumerate(sizes) if size is not None or len(sizes) != 3 or k == 0]
    if not sizes or not all(type(size) is int and 0 < size <= MAX_DESCRIBED_AXIS for size in required_sizes):
        raise PellucidError(
            f"input_shape must be whole numbers of at least 1, such as (1, 28, 28), or (3, None, None) for any size, "
            f"not {shape!r}"
        )
    return sizes


def float16_to_float32(tensor: Tensor) -> Tensor:
    """Return a float16 tensor, which saves space in files, as float32; any other tensor unchanged."""
    return tensor.float() if tensor.dtype is torch.float16 else tensor


def to_precision(tensor: Tensor, precision: str) -> Tensor:
    """Return a floating-point tensor as float64 if `precision` is "float64"; any other tensor unchanged."""
    return tensor.double() if precision == "float64" and tensor.is_floating_point() else tensor


def check_type(value: Any, expected_type: type[T], message: str) -> T:
    """Return `value` if its type is `expected_type`; raises PellucidError with the text `message` if not."""
    if not isinstance(value, expected_type):
        raise PellucidError(message)
    return value


def check_strings(value: Any, names: str = "classes") -> list[str]:
    """Return `value`; raises PellucidError, which begins with `names`, unless it is a list of strings."""
    if not all(isinstance(text, str) for text in check_type(value, list, f"{names} must be a list of strings")):
        raise PellucidError(f"{names} must be a list of strings")
    return value


def with_stored_names(net: Layer, folder: RunFolder) -> Layer:
    """Return a recipe's network with the layer names of the run's weights, which may be of an older version.

    Both networks must have the same layers in the same order, see `unnamed_structure`; otherwise, and if no weights can
    be read, `net` is returned, and loading the weights reports what is wrong. Raises PellucidError for an invalid
    description.
    """
    for file in (folder.last, folder.previous, folder.best):
        if file.is_file():
            try:
                _, about = read_weights(file)
            except DamagedFileError:
                continue
            stored_net = from_config(about.get("network"))
            return stored_net if unnamed_structure(stored_net) == unnamed_structure(net) else net
    return net


def unnamed_structure(net: Layer, leaf: Callable[[Layer], Any] = lambda layer: layer) -> list[Any]:
    """Return a network as nested lists without layer names, equal for the same layers connected in the same way.

    The layers of nested Sequentials form one list. leaf: a function that represents a layer that is not a combinator. A
    user-defined combinator is compared with the names of its layers.
    """
    net_type = type(net)
    match net:
        case Sequential() if net_type is Sequential:
            return [line for child in net.children.values() for line in unnamed_structure(child, leaf)]
        case Parallel() | Fork() | Shared() if net_type in (Parallel, Fork, Shared):
            return [(net_type, [unnamed_structure(child, leaf) for child in net.layers.values()])]
        case Graph() if net_type is Graph:
            index_by_name = {name: k for k, name in enumerate((*net.inputs, *net.nodes))}
            nodes = [
                (
                    index_by_name[layer] if isinstance(layer, str) else unnamed_structure(layer, leaf),
                    [index_by_name[name] for name in sources],
                )
                for layer, *sources in net.nodes.values()
            ]
            return [(net_type, len(net.inputs), nodes, [index_by_name[name] for name in net.outputs])]
        case Combinator():
            return [net]
        case _:
            return [leaf(net)]
