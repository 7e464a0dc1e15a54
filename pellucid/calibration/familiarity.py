"""Out-of-distribution detection: a distance from the training data in the network's own features.

At several layers, the features of the training images are modelled by one Gaussian for each class, with a covariance
matrix that all classes share (Lee, Lee, Lee and Shin 2018, "A simple unified framework for detecting
out-of-distribution samples and adversarial attacks", section 2). This matrix has low rank, plus the same variance in
every other direction (Tipping and Bishop 1999, "Probabilistic principal component analysis"). The score is the maximum
over these layers of the Mahalanobis distance to the nearest class, divided by the layer's 99th percentile for training
images. Early layers detect noise and unknown textures, late layers unknown shapes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import is_number
from pellucid.combine.base import walk
from pellucid.data.augment import FeatureStats
from pellucid.data.augment.standardise import scaled
from pellucid.data.dataset import float_images
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.layers.conv2d import Conv2d
from pellucid.layers.dense import Dense
from pellucid.nested import dtype_of, leaves
from pellucid.sweep import forward

TARGET_FALSE_POSITIVE_RATE = 0.01  # for in-distribution images; 1 / (N + 1) for N held-out images if that is larger
MIN_HELD_OUT = 20  # images; with fewer, the false positive rate would be 5 % or more
MAX_DEPTHS = 6  # layers, evenly chosen from the first to the last
MAX_AXES = 16  # principal directions whose variance is estimated separately
MAX_FEATURES = 2048  # at one depth; larger covariance matrices take too long
MAX_IMAGES = 3000  # of the training data, and of the held-out data
BATCH_SIZE = 64
RESOLUTIONS = (0.4, 0.6, 0.8)  # relative to that of the training images; see `with_lower_resolutions`
PREFIX = "[familiarity]."  # of tensor names in weights files; paths of layers contain no "["
TENSOR_FIELDS = ("scale", "means", "axes", "variances")  # fields of `Depth`
JSON_KEYS = ("depths", "threshold", "alarms", "held_out")
# Lower limits, so that no single feature or direction dominates the distance:
MIN_SCALE = 0.1  # standard deviation of a feature, relative to the mean of all features' standard deviations
MIN_VARIANCE = 1e-3  # variance along a direction, relative to the mean variance of all directions
TINY = torch.finfo(torch.float32).tiny


class Depth(NamedTuple):
    """The Gaussian model of the D features at one layer.

    The features are the mean and standard deviation of each output channel of a Conv2d, or the inputs of a Dense layer.
    """

    path: str
    unit: float  # the Mahalanobis distance that the fraction TARGET_FALSE_POSITIVE_RATE of the training images exceeds
    scale: Tensor  # (D,), the standard deviations that the features are divided by
    means: Tensor  # (C, D), the mean of each class
    axes: Tensor  # (K, D), orthonormal
    variances: Tensor  # (K + 1,), along each axis; the last one applies to every other direction

    def distance(self, features: Tensor) -> Tensor:
        """Return the Mahalanobis distance of features (N, D) to the nearest class, divided by `unit`, (N,).

        It is infinite if features are NaN or infinite, or so large that the distance overflows.
        """
        scale, means, axes, variances = (getattr(self, name).double() for name in TENSOR_FIELDS)
        x = features.double() / scale
        squared_along_axes = torch.cdist(
            (x @ axes.T) / variances[:-1].sqrt(), (means @ axes.T) / variances[:-1].sqrt()
        ).square()
        squared_orthogonal = torch.cdist(x, means).square() - torch.cdist(x @ axes.T, means @ axes.T).square()
        squared_distances = squared_along_axes + squared_orthogonal.clamp_min(0) / variances[-1]  # (N, C)
        return (squared_distances.amin(1).sqrt() / self.unit).nan_to_num(nan=math.inf, posinf=math.inf)


@dataclass(frozen=True, eq=False)
class Familiarity:
    """The Gaussian models of the training images' features, and the distance above which an input is unfamiliar."""

    depths: tuple[Depth, ...]
    threshold: float  # a distance greater than 0
    alarms: float  # the fraction of the held-out images whose distance exceeds it
    held_out: int  # the number of held-out images

    def distance(self, net: Layer, params: Params, x: Tensor, stats: FeatureStats | None = None) -> Tensor:
        """Return the distance of inputs (N, C, H, W) from the training data, (N,), float64."""
        features_by_path = features(net, params, x, [depth.path for depth in self.depths], stats)
        distances = [depth.distance(features_by_path[depth.path]) for depth in self.depths]
        return torch.stack(distances).amax(0)

    def to_json(self) -> dict[str, Any]:
        """Return all values except the tensors as JSON values."""
        depths = [{"path": depth.path, "unit": depth.unit} for depth in self.depths]
        return {"depths": depths, "threshold": self.threshold, "alarms": self.alarms, "held_out": self.held_out}

    @classmethod
    def from_json(
        cls, value: Any, tensors: Mapping[str, Tensor], net: Layer, shapes: Mapping[str, tuple[Any, Any]]
    ) -> "Familiarity | None":
        """Build a Familiarity from the results of `to_json` and `named_tensors`; return None for None.

        shapes: the shapes of the input and the output of each layer that runs, by path; see `init_within_bounds`.
        Raises PellucidError for invalid values.
        """
        if value is None:
            return None
        if not isinstance(value, Mapping) or set(value) != set(JSON_KEYS) or not isinstance(value["depths"], list):
            raise PellucidError(f"familiarity must contain {', '.join(JSON_KEYS)}, not {value!s:.80}")
        if not value["depths"]:
            raise PellucidError("familiarity: depths must name at least one layer")
        if not is_number(value["threshold"]) or value["threshold"] <= 0:
            raise PellucidError(f"familiarity: threshold must be a number above 0, not {value['threshold']!s:.40}")
        if not is_number(value["alarms"]) or not 0 <= value["alarms"] <= 1:
            raise PellucidError(f"familiarity: alarms must be a number from 0 to 1, not {value['alarms']!s:.40}")
        if type(value["held_out"]) is not int or value["held_out"] < 1:
            raise PellucidError(
                f"familiarity: held_out must be a whole number of at least 1, not {value['held_out']!s:.40}"
            )
        layers = dict(walk(net))
        depths: list[Depth] = []
        for k, depth in enumerate(value["depths"]):
            if not isinstance(depth, Mapping) or set(depth) != {"path", "unit"}:
                raise PellucidError(f"familiarity: a depth must contain path and unit, not {depth!s:.80}")
            path, unit = depth["path"], depth["unit"]
            if not is_number(unit) or unit <= 0:
                raise PellucidError(f"familiarity: a unit must be a number above 0, not {unit!s:.40}")
            if not isinstance(path, str) or path not in shapes or not isinstance(layers.get(path), Conv2d | Dense):
                raise PellucidError(f"familiarity: the network runs no Conv2d or Dense at {path!s:.40}")
            input_shape, output_shape = shapes[path]
            # see `Depth`
            n_features = 2 * output_shape[0] if isinstance(layers[path], Conv2d) else math.prod(input_shape)
            tensors_of_depth = [tensors.get(f"{PREFIX}{k}.{name}") for name in TENSOR_FIELDS]
            depths.append(Depth(path, float(unit), *_checked_tensors(path, tensors_of_depth, n_features)))
        return cls(tuple(depths), float(value["threshold"]), value["alarms"], value["held_out"])


@dataclass(frozen=True)
class FamiliarityScore:
    """The distance of an input from the training data, and the threshold above which it is unfamiliar."""

    distance: float
    threshold: float

    @property
    def unfamiliar(self) -> bool:
        """Whether the input is unlike the training data."""
        return self.distance > self.threshold

    @property
    def text(self) -> str:
        """The score in words; "" for a familiar input."""
        if not self.unfamiliar:
            return ""
        return f"unlike anything it was trained on (distance {self.distance:.3g}, threshold {self.threshold:.3g})"


class MeasuredModel(Protocol):
    """A model that may have a familiarity distance."""

    familiarity: Familiarity | None

    def distance(self, x: Tensor) -> Tensor | None:
        """Return the distances (N,) of inputs (N, ...); None for a model without a familiarity distance."""
        ...


def familiarity_scores(model: MeasuredModel, x: Tensor) -> list[FamiliarityScore] | list[None]:
    """Return the score of each input (N, C, H, W); a list of None for a model without a familiarity distance."""
    distances = model.distance(x)
    if distances is None or model.familiarity is None:
        return [None] * len(x)
    return [FamiliarityScore(distance, model.familiarity.threshold) for distance in distances.tolist()]


def farthest_score(model: MeasuredModel, views: Tensor) -> FamiliarityScore | None:
    """Return the score with the largest distance among views (N, C, H, W) of one image; None without scores."""
    scores = [score for score in familiarity_scores(model, views) if score is not None]
    return max(scores, key=lambda score: score.distance, default=None)


def familiarity_to_json(score: FamiliarityScore | None) -> dict[str, Any]:
    """Return the score as JSON values of a prediction; the values are None without a score."""
    if score is None:
        return {"unfamiliar": None, "distance": None, "distance_threshold": None}
    return {"unfamiliar": score.unfamiliar, "distance": score.distance, "distance_threshold": score.threshold}


def familiarity_suffix(score: FamiliarityScore | None) -> str:
    """Return the score in words, to append to a line of text; "" for a familiar input or without a score."""
    return f"; {score.text}" if score is not None and score.unfamiliar else ""


def named_tensors(familiarity: Familiarity | None) -> dict[str, Tensor]:
    """Return the tensors by their names in a weights file; an empty dict for None."""
    depths = familiarity.depths if familiarity else ()
    return {f"{PREFIX}{k}.{name}": getattr(depth, name) for k, depth in enumerate(depths) for name in TENSOR_FIELDS}


def fit_familiarity(
    net: Layer, params: Params, train: tuple[Tensor, Tensor], held_out: Tensor, stats: FeatureStats | None = None
) -> Familiarity | None:
    """Fit the Gaussian models to `train`, inputs (N, ...) and classes (N,), and the threshold to held-out inputs.

    The threshold is the distance that at most the fraction TARGET_FALSE_POSITIVE_RATE of in-distribution images
    exceeds, or 1 / (N + 1) for N held-out inputs if that is larger (Vovk, Gammerman and Shafer 2005, "Algorithmic
    learning in a random world", section 2.2). At most MAX_IMAGES training and held-out inputs are used, evenly chosen.
    Returns None for fewer than MIN_HELD_OUT inputs, targets that are not classes, features that are not finite, or no
    layer whose features can be modelled.
    """
    x, y = (part[evenly_spaced_indices(len(part))] for part in train)
    held_out = held_out[evenly_spaced_indices(len(held_out))]
    if len(held_out) < MIN_HELD_OUT or len(x) < MIN_HELD_OUT or y.is_floating_point() or y.dim() != 1:
        return None
    paths = [path for path, layer in walk(net) if isinstance(layer, Conv2d | Dense)]
    sample_features = features(net, params, x[:2], paths, stats)
    usable_paths = [path for path, values in sample_features.items() if 1 < values.shape[1] <= MAX_FEATURES]
    n_depths = min(MAX_DEPTHS, len(usable_paths))
    indices = (round(k * (len(usable_paths) - 1) / max(n_depths - 1, 1)) for k in range(n_depths))
    selected_paths = list(dict.fromkeys(usable_paths[index] for index in indices))
    train_features, held_out_features = (features(net, params, part, selected_paths, stats) for part in (x, held_out))
    all_features = (*train_features.values(), *held_out_features.values())
    if not train_features or not all(bool(torch.isfinite(values).all()) for values in all_features):
        return None
    depths = [_fit_depth(path, train_features[path], y) for path in selected_paths]
    distances = torch.stack([depth.distance(held_out_features[depth.path]) for depth in depths]).amax(0)
    # Slightly above the quantile: rounding errors must not move a held-out distance above the threshold.
    threshold = float(_quantile(distances)) * (1 + 1e-6)
    if not math.isfinite(threshold):
        return None
    threshold = max(threshold, TINY)
    return Familiarity(tuple(depths), threshold, float((distances > threshold).double().mean()), len(held_out))


def with_lower_resolutions(x: Tensor) -> Tensor:
    """Return images (N, C, H, W), every second one reduced by one of RESOLUTIONS in turn and enlarged again.

    Data sets often have one resolution. A distance that is fitted to it alone reports each image that is less sharp,
    even if its class is predicted correctly.
    """
    if x.dim() != 4:
        return x
    x = float_images(x.clone())
    low, high = x.aminmax()
    size = x.shape[2:]
    for k, resolution in enumerate(RESOLUTIONS):
        first = 2 * k + 1
        if first >= len(x):
            break
        indices = torch.arange(first, len(x), 2 * len(RESOLUTIONS))
        small_size = [max(1, round(side * resolution)) for side in size]
        small = F.interpolate(x[indices], small_size, mode="bilinear", antialias=True)
        x[indices] = F.interpolate(small, size, mode="bicubic").clamp(low, high)
    return x


def features(
    net: Layer, params: Params, x: Tensor, paths: list[str], stats: FeatureStats | None = None
) -> dict[str, Tensor]:
    """Return the features of inputs (N, ...) at the layers `paths` on the CPU, (N, D) each, by path; see `Depth`.

    They are computed on the device of the parameters. Layers that the forward pass does not run are omitted.
    """
    path_set = {*paths}
    device = leaves(params)[0].device
    batches: dict[str, list[Tensor]] = {}

    for chunk in x.split(BATCH_SIZE):
        batch: dict[str, Tensor] = {}

        def watch(path: str, layer: Layer, x: Any, y: Any, cache: Cache, batch: dict[str, Tensor] = batch) -> None:
            if path in path_set:
                batch[path] = _map_statistics(y) if isinstance(layer, Conv2d) else x.flatten(1)

        with torch.inference_mode():
            forward(net, params, scaled(chunk.to(device), stats, dtype_of(params)), Mode(keep=False), watch)
        for path, values in batch.items():
            batches.setdefault(path, []).append(values.cpu())
    return {path: torch.cat(batches[path]).clone() for path in paths if path in batches}


def _map_statistics(y: Tensor) -> Tensor:
    """Return the mean and the standard deviation of each map of y (N, C, H, W), (N, 2 * C)."""
    return torch.cat([y.mean((2, 3)), y.std((2, 3), correction=0)], 1)


def _fit_depth(path: str, x: Tensor, y: Tensor) -> Depth:
    """Fit the Gaussian model to features x (N, D) with classes y (N,)."""
    x = x.double()
    scale = x.std(0, correction=0)
    scale = scale.clamp_min(max(MIN_SCALE * float(scale.mean()), TINY))
    x = x / scale
    classes, index = y.unique(return_inverse=True)
    means = torch.zeros(len(classes), x.shape[1], dtype=x.dtype).index_add_(0, index, x)
    means /= index.bincount()[:, None]
    centred = x - means[index]
    eigenvalues, eigenvectors = torch.linalg.eigh(centred.T @ centred / len(x))  # ascending
    n_axes = min(MAX_AXES, len(eigenvalues) - 1)
    min_variance = max(MIN_VARIANCE * float(eigenvalues.mean()), TINY)
    orthogonal_variance = eigenvalues[: len(eigenvalues) - n_axes].mean().clamp_min(min_variance)
    along_axes = eigenvalues[len(eigenvalues) - n_axes :].maximum(orthogonal_variance)
    axes = eigenvectors[:, len(eigenvalues) - n_axes :].T
    variances = torch.cat([along_axes, orthogonal_variance[None]])
    depth = Depth(path, 1.0, *(tensor.float().contiguous() for tensor in (scale, means, axes, variances)))
    return depth._replace(unit=max(float(_quantile(depth.distance(x * scale))), TINY))


def _quantile(distances: Tensor) -> Tensor:
    """Return the distance that at most the fraction TARGET_FALSE_POSITIVE_RATE of new images exceeds."""
    rank = max(1, math.floor(TARGET_FALSE_POSITIVE_RATE * (len(distances) + 1)))  # from the largest
    return distances.sort(descending=True).values[rank - 1]


def evenly_spaced_indices(n: int) -> Tensor:
    """Return the indices of at most MAX_IMAGES of n rows, evenly chosen because data may be sorted by class."""
    n_chosen = min(MAX_IMAGES, n)
    return torch.arange(n_chosen) * n // max(n_chosen, 1)


def _checked_tensors(path: str, tensors_or_none: list[Tensor | None], n_features: int) -> list[Tensor]:
    """Return a depth's tensors; raise PellucidError unless their shapes match each other and `n_features`."""
    tensors = [tensor.float() for tensor in tensors_or_none if tensor is not None and tensor.is_floating_point()]
    if len(tensors) == len(TENSOR_FIELDS):
        scale, means, axes, variances = tensors
        shapes_match = (
            scale.shape == (n_features,) and means.shape[1:] == (n_features,) and axes.shape[1:] == (n_features,)
        )
        if shapes_match and len(means) and variances.shape == (len(axes) + 1,):
            is_positive = bool((scale > 0).all() and (variances > 0).all())
            if is_positive and all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
                return tensors
    raise PellucidError(
        f"familiarity: the tensors of {path} are missing, or do not fit each other and its {n_features} features"
    )
