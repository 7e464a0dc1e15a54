"""Initial weights that are not drawn at random: a trained model's features, or whitening filters."""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import walk
from pellucid.data import Source
from pellucid.data.augment.standardise import scaled
from pellucid.data.seeds import generator
from pellucid.errors import PellucidError, nearest
from pellucid.layers import BatchNorm, Conv2d
from pellucid.layers.base import Layer, Params, Shape, pair
from pellucid.model import Model
from pellucid.models import MODELS, features
from pellucid.models.fcn import KERAS_EPSILON, backbone_of, plain_path
from pellucid.models.keypoints import mobilenet_of
from pellucid.models.pyramid import backbone_name, pyramid_params
from pellucid.nested import flatten, nest
from pellucid.objective import Objective, Supervised
from pellucid.run.described import unnamed
from pellucid.run.folder import weights_file
from pellucid.run.weights import is_ours
from pellucid.weights import open_weights
from pellucid.weights.catalogue import CATALOGUE, downloaded
from pellucid.weights.match import match
from pellucid.weights.names import form, origin_of, source_of, take_scaling, take_weights

IMAGENET = 224  # pixels: height and width of the images that backbones were trained on
STRIDE = 32  # pixels: the stride of MobileNetV2's last feature maps


@dataclass(frozen=True, eq=False)
class Trained:
    """The parameters of `features`, and the mean and standard deviation by which their inputs were standardized.

    mean, std: one value per channel; empty if the inputs were not standardized. is_model: whether `params` are those of
    a model with the same networks, not of its features.
    """

    params: Params
    mean: tuple[float, ...]
    std: tuple[float, ...]
    is_model: bool = False


def trained_features(name: str, net: Layer, shape: Shape, root: str | os.PathLike[str] | None = None) -> Trained:
    """Return the initial parameters of `features` of a network for images of `shape`.

    name: a pretrained model's name, a run folder, a weights file of pellucid or of another library, or a name of
    `pellucid weights list`, whose file is in ROOT/weights. Raises PellucidError if there is no such model, or if its
    features do not match those of `net`.
    """
    path = source_file(name, root)
    model = Model.load(path) if is_ours(path) else None
    backbone = backbone_of(net) or mobilenet_of(net)
    if backbone is None or (model is not None and _have_same_features(net, model.net)):
        return _published(path, net, shape) if model is None else _from_model(name, model, net, shape)
    # The backbone's features are the same, but undivided at the skip connections.
    found = trained_features(name, backbone, (shape[0], IMAGENET, IMAGENET), root)
    with torch.device("meta"):  # paths only
        structure, _ = features(net).init(shape, torch.Generator())
    params = flatten(found.params)
    return replace(found, params=nest(structure, {path: params[plain_path(path)] for path in flatten(structure)}))


def trained_objective(
    name: str, objective: Objective, shape: Shape, root: str | os.PathLike[str] | None = None
) -> Trained:
    """Return initial parameters of an objective: those of a model of its kind, otherwise of its `start_net`.

    name: as for `trained_features`. shape: of the images. Raises PellucidError like `trained_features`, for a model
    with another backbone, and for a backbone that `pellucid.models.pyramid` does not support.
    """
    path = source_file(name, root)
    if is_ours(path) and not isinstance((other := Model.load(path)).objective, Supervised):
        with torch.device("meta"):  # shapes only
            own, _ = objective.init(shape, torch.Generator())
        mean, std = _scaling(other)
        return Trained(_common(name, own, other.params), mean, std, is_model=True)
    net = objective.start_net
    if net is None:
        raise PellucidError(f"start.weights: {type(objective).__name__} has no backbone to start from; leave it out")
    backbone = backbone_name(net)
    if backbone is None:
        raise PellucidError("start.weights: the backbone is no network of pellucid.models; leave it out")
    zoo, found = trained_network(name, backbone, root)
    epsilon = next((layer.epsilon for _, layer in walk(zoo) if isinstance(layer, BatchNorm)), 0.0)
    return replace(found, params=pyramid_params(backbone, found.params, epsilon))


def trained_network(name: str, kind: str, root: str | os.PathLike[str] | None = None) -> tuple[Layer, Trained]:
    """Return a network of the zoo with the options that the trained weights need, and the parameters of its features.

    name: as for `trained_features`. kind: a name of `pellucid.models.MODELS`.
    """
    path = source_file(name, root)
    if is_ours(path):
        options = _saved_options(path, kind)
    else:
        options = origin_of([kind], open_weights(path), path).naming.options
    zoo = MODELS[kind](**options)
    side = 32 if kind == "airbench96" else IMAGENET
    return zoo, trained_features(name, zoo, (3, side, side), root)


def _saved_options(path: Path, kind: str) -> dict[str, Any]:
    """Return the options that a model of pellucid needs: those of Keras' MobileNetV2 if it has that epsilon."""
    nets = Model.load(path).objective.nets.values()
    epsilons = [layer.epsilon for net in nets for _, layer in walk(net) if isinstance(layer, BatchNorm)]
    keras = kind == "mobilenet_v2" and KERAS_EPSILON in epsilons[:1]
    return {"epsilon": KERAS_EPSILON, "pad": "same"} if keras else {}


def source_file(name: str, root: str | os.PathLike[str] | None = None) -> Path:
    """Return the file that `start.weights` names; raises PellucidError if there is none."""
    return downloaded(name, root) if name in CATALOGUE else weights_file(name)


def source_checksum(name: str, root: str | os.PathLike[str] | None = None) -> str | None:
    """Return the SHA-256 of the file that `start.weights` names; None for the name ""."""
    if not name:
        return None
    with source_file(name, root).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _common(name: str, params: Params, other_params: Params) -> Params:
    """Return the parameters of another model for the networks that both have; last layers may differ in shape.

    Raises PellucidError unless the first network, such as the backbone, is the same.
    """
    first = next(iter(params))
    differences = match(flatten({first: params[first]}), flatten({first: other_params.get(first, {})}))
    if differences:
        raise PellucidError(
            f"start.weights: the {first} of {name} is another one: {differences[0]}; give a model with the same {first}"
        )
    common: dict[str, Tensor] = {}
    for part in params:
        expected, found = flatten({part: params[part]}), flatten({part: other_params.get(part, {})})
        if expected.keys() == found.keys():
            common |= {path: found[path] for path, tensor in expected.items() if found[path].shape == tensor.shape}
    return common


def _scaling(model: Model) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation by which a model standardizes its inputs; both empty for none."""
    stats = model.stats
    return ((), ()) if stats is None else (tuple(stats.mean.flatten().tolist()), tuple(stats.std.flatten().tolist()))


def _from_model(name: str, other: Model, net: Layer, shape: Shape) -> Trained:
    """Return the features of a model that pellucid saved; see `trained_features`."""
    try:
        same = _have_same_features(net, other.net)
    except PellucidError as error:
        raise PellucidError(f"start.weights: {name}: {error}") from error
    with torch.device("meta"):  # shapes only
        structure, _ = features(net).init(shape, torch.Generator())
    params = other.params["features"]
    if not same and _same_order(net, other.net):  # renamed by a later version of pellucid
        params = nest(structure, dict(zip(flatten(structure), flatten(params).values(), strict=True)))
        same = True
    differences = match(flatten(structure), flatten(params))
    if differences or not same:
        raise PellucidError(
            f"start.weights: the features of {name} differ from this network's: {_difference(net, other.net)}; give "
            "[network] the model and the settings that it was trained with"
        )
    if other.input_shape[0] != shape[0]:
        raise PellucidError(
            f"start.weights: {name} takes images of {other.input_shape[0]} channels, not {shape[0]}; set data.mode"
        )
    return Trained(params, *_scaling(other))


def _have_same_features(net: Layer, other: Layer) -> bool:
    """Return whether two networks have the same features; PellucidError if one has none."""
    return form(net) == form(other)


def _difference(net: Layer, other: Layer) -> str:
    """Return the first difference between the features of two networks, in words."""
    ours, theirs = form(net), form(other)
    for path in ours:
        if path not in theirs:
            return f"it has no {path}"
        if ours[path] != theirs[path]:
            (kind, shape), (other_kind, other_shape) = ours[path], theirs[path]
            if kind != other_kind:
                return f"{path} is a {other_kind}, not a {kind}"
            name = next(name for name in shape if shape[name] != other_shape[name])
            return f"{path} has {name}={other_shape[name]!r}, not {shape[name]!r}"
    return f"{next(iter(theirs.keys() - ours.keys()), 'the order of layers')} is not in this network"


def _same_order(net: Layer, other: Layer) -> bool:
    """Return whether two networks have the same features in the same order, regardless of the layers' names."""
    same_layers = list(form(net).values()) == list(form(other).values())
    return same_layers and unnamed(features(net), type) == unnamed(features(other), type)


def _published(path: Path, net: Layer, shape: Shape) -> Trained:
    """Return the features in a published weights file; see `trained_features`."""
    tensors = open_weights(path)
    source = source_of(net, tensors, path)
    if source.naming.options.get("pad") == "same" and any(side % STRIDE for side in shape[1:]):
        raise PellucidError(
            f"start.weights: {path} is from Keras, whose padding equals this network's only for sides that are "
            f"multiples of {STRIDE}, not {' x '.join(map(str, shape[1:]))}; set data.size to a multiple"
        )
    expected, _ = features(net).init(shape, torch.Generator())
    params = take_weights(net, {"features": expected}, tensors, path, "features")["features"]
    return Trained(params, *take_scaling(source, params))


MAX_IMAGES = 5_000  # training images whose patches give the covariance
CHUNK = 100  # images whose patches are in memory at a time
# Added to the variances, so that noise is not amplified. Jordan adds 5e-4; in patches of JPEG images, whose colour has
# half the resolution, half of the directions have variances below 1e-2.
FLOOR = 1e-2


def whiten(model: Model, path: str, train: Source) -> None:
    """Set the filters of the convolution at `path`, the first of the network, to whiten patches of training images.

    Raises PellucidError if `path` is not a convolution, or not the first.
    """
    layers = dict(walk(model.net))
    found = layers.get(path)
    if not isinstance(found, Conv2d):
        conv_paths = [path for path, layer in layers.items() if isinstance(layer, Conv2d)]
        what = f"is a {type(found).__name__}" if found is not None else "does not exist"
        raise PellucidError(f"start.whiten: {path!r} {what}; give the path of a Conv2d{nearest(path, conv_paths)}")
    weight = flatten(model.params)[f"{path}.weight"]
    indices = torch.randperm(len(train), generator=generator(model.seed))[:MAX_IMAGES]
    pixels = scaled(train.batch(indices.sort().values.tolist(), generator(0)).images, model.stats)
    first = next(path for path in flatten(model.params) if path.endswith(".weight"))
    if first != f"{path}.weight" or weight.shape[1] != pixels.shape[1]:
        raise PellucidError(f"start.whiten: {path} does not read the images; give the first convolution")
    weight.copy_(whitening(pixels, found.filters, pair(found.kernel)))


def whitening(images: Tensor, filters: int, kernel: tuple[int, int]) -> Tensor:
    """Return filters (filters, C, kH, kW) whose outputs for patches are uncorrelated, with similar variances.

    images: (N, C, H, W), scaled like the inputs of the network. The filters are the eigenvectors of the patches'
    uncentred covariance, the largest variance first, each divided by the root of its variance plus FLOOR; then their
    negatives, so that a following ReLU or GELU loses nothing. Raises PellucidError for more than 2 C kH kW
    filters.
    Source: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds", section 3.2, after Page 2018.
    """
    size = images.shape[1] * kernel[0] * kernel[1]
    if not 1 <= filters <= 2 * size:
        raise PellucidError(
            f"start.whiten: patches of {images.shape[1]} x {kernel[0]} x {kernel[1]} have {size} directions, enough "
            f"for {2 * size} filters, not {filters}"
        )
    moments, count = torch.zeros(size, size, dtype=torch.float64), 0
    for chunk in images.split(CHUNK):
        patches = chunk.unfold(2, kernel[0], 1).unfold(3, kernel[1], 1)  # (n, C, H', W', kH, kW)
        rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, size).double()
        moments += rows.T @ rows
        count += len(rows)
    variances, directions = torch.linalg.eigh(moments / count)  # ascending; one direction per column
    whitened = (directions / torch.sqrt(variances + FLOOR)).T.flip(0)  # (size, size)
    weights = torch.cat([whitened, -whitened])[:filters]
    return weights.reshape(filters, images.shape[1], *kernel).float()
