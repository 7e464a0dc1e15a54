"""Initial weights that are not drawn at random: a trained model's features, or whitening filters."""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pellucid.base.errors import PellucidError, nearest
from pellucid.calibration.familiarity import features as layer_features
from pellucid.combine.base import walk
from pellucid.data import Source, Subset
from pellucid.data.augment.standardise import scaled
from pellucid.data.seeds import generator
from pellucid.layers import BatchNorm, Conv2d, Dense
from pellucid.layers.base import Layer, Params, Shape, pair
from pellucid.model import Model
from pellucid.models import MODELS, features
from pellucid.models.fcn import KERAS_EPSILON, backbone_of, backbone_path
from pellucid.models.keypoints import mobilenet_of
from pellucid.models.pyramid import backbone_name, pyramid_params
from pellucid.nested import flatten, nest
from pellucid.objective import Objective, Supervised
from pellucid.ops.ridge import fit_ridge
from pellucid.run.described import unnamed_structure
from pellucid.run.folder import weights_file
from pellucid.run.weights import is_pellucid_file
from pellucid.training.reading import read_batches
from pellucid.weights import open_weights
from pellucid.weights.catalogue import CATALOGUE, downloaded_path
from pellucid.weights.match import match
from pellucid.weights.names import layer_settings, origin_of, source_of, take_scaling, take_weights

IMAGENET_SIDE = 224  # pixels: height and width of the images that backbones were trained on
BACKBONE_STRIDE = 32  # pixels: the stride of MobileNetV2's last feature maps


@dataclass(frozen=True, eq=False)
class StartWeights:
    """The parameters of `features`, and the mean and standard deviation by which their inputs were standardized.

    mean, std: one value per channel; empty if the inputs were not standardized. is_model: whether `params` belong to
    a whole model with the same networks, not only to its features.
    """

    params: Params
    mean: tuple[float, ...]
    std: tuple[float, ...]
    is_model: bool = False


def trained_features(name: str, net: Layer, shape: Shape, root: str | os.PathLike[str] | None = None) -> StartWeights:
    """Return the initial parameters of `features` of a network for images of `shape`.

    name: a pretrained model's name, a run folder, a weights file of pellucid or of another library, or a name that
    `pellucid weights list` shows, whose file is in ROOT/weights. Raises PellucidError if there is no such model, or if
    its features do not match those of `net`.
    """
    path = source_file(name, root)
    model = Model.load(path) if is_pellucid_file(path) else None
    backbone = backbone_of(net) or mobilenet_of(net)
    if backbone is None or (model is not None and _have_same_features(net, model.net)):
        return _weights_of_file(path, net, shape) if model is None else _weights_of_model(name, model, net, shape)
    # The backbone's features are the same, but undivided at the skip connections.
    backbone_weights = trained_features(name, backbone, (shape[0], IMAGENET_SIDE, IMAGENET_SIDE), root)
    with torch.device("meta"):  # paths only
        structure, _ = features(net).init(shape, torch.Generator())
    params = flatten(backbone_weights.params)
    return replace(
        backbone_weights, params=nest(structure, {path: params[backbone_path(path)] for path in flatten(structure)})
    )


def trained_objective(
    name: str, objective: Objective, shape: Shape, root: str | os.PathLike[str] | None = None
) -> StartWeights:
    """Return initial parameters of an objective, from a model with such an objective or from a trained backbone.

    name: as for `trained_features`. shape: the shape of the images. Raises PellucidError like `trained_features`, for a
    model with another backbone, and for a backbone that `pellucid.models.pyramid` does not support.
    """
    path = source_file(name, root)
    if is_pellucid_file(path) and not isinstance((source_model := Model.load(path)).objective, Supervised):
        with torch.device("meta"):  # shapes only
            structure, _ = objective.init(shape, torch.Generator())
        mean, std = _input_scaling(source_model)
        return StartWeights(_common_params(name, structure, source_model.params), mean, std, is_model=True)
    net = objective.start_net
    if net is None:
        raise PellucidError(f"start.weights: {type(objective).__name__} has no backbone to start from; leave it out")
    backbone = backbone_name(net)
    if backbone is None:
        raise PellucidError("start.weights: the backbone is no network of pellucid.models; leave it out")
    backbone_net, backbone_weights = trained_network(name, backbone, root)
    epsilon = next((layer.epsilon for _, layer in walk(backbone_net) if isinstance(layer, BatchNorm)), 0.0)
    return replace(backbone_weights, params=pyramid_params(backbone, backbone_weights.params, epsilon))


def trained_network(
    name: str, model_name: str, root: str | os.PathLike[str] | None = None
) -> tuple[Layer, StartWeights]:
    """Return a network with the options that the trained weights need, and the parameters of its features.

    name: as for `trained_features`. model_name: a name of `pellucid.models.MODELS`.
    """
    path = source_file(name, root)
    if is_pellucid_file(path):
        options = _saved_options(path, model_name)
    else:
        options = origin_of([model_name], open_weights(path), path).naming.model_arguments
    net = MODELS[model_name](**options)
    image_side = 32 if model_name == "airbench96" else IMAGENET_SIDE  # airbench96 is trained on CIFAR-10
    return net, trained_features(name, net, (3, image_side, image_side), root)


def _saved_options(path: Path, model_name: str) -> dict[str, Any]:
    """Return the options of a saved model's network: those of Keras for a MobileNetV2 with its epsilon, else {}."""
    nets = Model.load(path).objective.nets.values()
    epsilons = [layer.epsilon for net in nets for _, layer in walk(net) if isinstance(layer, BatchNorm)]
    is_keras = model_name == "mobilenet_v2" and KERAS_EPSILON in epsilons[:1]
    return {"epsilon": KERAS_EPSILON, "pad": "same"} if is_keras else {}


def source_file(name: str, root: str | os.PathLike[str] | None = None) -> Path:
    """Return the file that `start.weights` names; raises PellucidError if there is none."""
    return downloaded_path(name, root) if name in CATALOGUE else weights_file(name)


def source_checksum(name: str, root: str | os.PathLike[str] | None = None) -> str | None:
    """Return the SHA-256 of the file that `start.weights` names; None for the name ""."""
    if not name:
        return None
    with source_file(name, root).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _common_params(name: str, params: Params, other_params: Params) -> Params:
    """Return the parameters of another model for its networks with equal paths, except tensors of other shapes.

    Raises PellucidError unless the first network, such as the backbone, is the same.
    """
    first_name = next(iter(params))
    differences = match(
        flatten({first_name: params[first_name]}), flatten({first_name: other_params.get(first_name, {})})
    )
    if differences:
        raise PellucidError(
            f"start.weights: the {first_name} of {name} is another one: {differences[0]}; give a model with the same "
            f"{first_name}, or start.weights= to begin without"
        )
    common_tensors: dict[str, Tensor] = {}
    for net_name in params:
        expected_tensors, stored_tensors = (
            flatten({net_name: params[net_name]}),
            flatten({net_name: other_params.get(net_name, {})}),
        )
        # without the other model's recipe, only the shapes tell which tensors depend on its classes
        if expected_tensors.keys() == stored_tensors.keys():
            common_tensors |= {
                path: stored_tensors[path]
                for path, tensor in expected_tensors.items()
                if stored_tensors[path].shape == tensor.shape
            }
    return common_tensors


def _input_scaling(model: Model) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation by which a model standardizes its inputs; () and () if it does not."""
    stats = model.stats
    return ((), ()) if stats is None else (tuple(stats.mean.flatten().tolist()), tuple(stats.std.flatten().tolist()))


def _weights_of_model(name: str, source_model: Model, net: Layer, shape: Shape) -> StartWeights:
    """Return the features of a model that pellucid saved; see `trained_features`."""
    try:
        have_same_features = _have_same_features(net, source_model.net)
    except PellucidError as error:
        raise PellucidError(f"start.weights: {name}: {error}") from error
    with torch.device("meta"):  # shapes only
        structure, _ = features(net).init(shape, torch.Generator())
    params = source_model.params["features"]
    if not have_same_features and _have_same_order(net, source_model.net):  # renamed by a later version of pellucid
        params = nest(structure, dict(zip(flatten(structure), flatten(params).values(), strict=True)))
        have_same_features = True
    differences = match(flatten(structure), flatten(params))
    if differences or not have_same_features:
        raise PellucidError(
            f"start.weights: the features of {name} differ from this network's: "
            f"{_first_difference(net, source_model.net)}; give [network] the model and the settings that "
            "it was trained with"
        )
    if source_model.input_shape[0] != shape[0]:
        raise PellucidError(
            f"start.weights: {name} takes images of {source_model.input_shape[0]} channels, not {shape[0]}; set "
            "data.mode"
        )
    return StartWeights(params, *_input_scaling(source_model))


def _have_same_features(net: Layer, other_net: Layer) -> bool:
    """Return whether two networks have the same features; raises PellucidError if one has no features."""
    return layer_settings(net) == layer_settings(other_net)


def _first_difference(net: Layer, other_net: Layer) -> str:
    """Return the first difference between the features of two networks, in words."""
    layers, other_layers = layer_settings(net), layer_settings(other_net)
    for path in layers:
        if path not in other_layers:
            return f"it has no {path}"
        if layers[path] != other_layers[path]:
            (layer_type, settings), (other_type, other_settings) = layers[path], other_layers[path]
            if layer_type != other_type:
                return f"{path} is a {other_type}, not a {layer_type}"
            name = next(name for name in settings if settings[name] != other_settings[name])
            return f"{path} has {name}={other_settings[name]!r}, not {settings[name]!r}"
    return f"{next(iter(other_layers.keys() - layers.keys()), 'the order of layers')} is not in this network"


def _have_same_order(net: Layer, other_net: Layer) -> bool:
    """Return whether two networks have the same features in the same order, regardless of the layers' names."""
    has_same_layers = list(layer_settings(net).values()) == list(layer_settings(other_net).values())
    return has_same_layers and unnamed_structure(features(net), type) == unnamed_structure(features(other_net), type)


def _weights_of_file(path: Path, net: Layer, shape: Shape) -> StartWeights:
    """Return the features in a published weights file; see `trained_features`."""
    tensors = open_weights(path)
    origin = source_of(net, tensors, path)
    if origin.naming.model_arguments.get("pad") == "same" and any(side % BACKBONE_STRIDE for side in shape[1:]):
        raise PellucidError(
            f"start.weights: {path} is from Keras, whose padding equals this network's only for sides that are "
            f"multiples of {BACKBONE_STRIDE}, not {' x '.join(map(str, shape[1:]))}; set data.size to a multiple"
        )
    initial_params, _ = features(net).init(shape, torch.Generator())
    params = take_weights(net, {"features": initial_params}, tensors, path, "features")["features"]
    return StartWeights(params, *take_scaling(origin, params))


HEAD = "head.scores"  # the last layer of the classifiers of pellucid.models
MAX_HEAD_IMAGES = 1_500  # training images to which it is fitted: 10 ms for each
SCORE_SCALE = 4.0  # logits by score: for a score of 1, and 0 for nine other classes, a probability of 86 %


def fit_head(model: Model, train: Source) -> None:
    """Set the layer HEAD to a linear model of its inputs, fitted to training images by ridge regression.

    The regression is that of 0 and 1 for each class, as in the baseline of a run. Its scores are centred at 1/2 and
    multiplied by SCORE_SCALE, since the losses of classes take logits. Fine-tuning then begins with the accuracy of the
    linear model, and gradients of a fitted head change features less than those of a random one.
    Source: Kumar, Raghunathan, Jones, Ma and Liang 2022, "Fine-tuning can distort pretrained features and underperform
    out-of-distribution", section 3.4 (LP-FT). Raises PellucidError for a network without HEAD, and for numbers.
    """
    layer = dict(walk(model.net)).get(HEAD)
    if not isinstance(layer, Dense):
        raise PellucidError(f"start.linear: the network has no layer {HEAD}; leave it out")
    if train.classes is None or len(model.output_shape) != 1:
        raise PellucidError("start.linear: a linear model of scores needs classes, not numbers or maps; leave it out")
    indices = torch.randperm(len(train), generator=generator(0))[:MAX_HEAD_IMAGES]
    input_batches, target_batches = [], []
    for batch in read_batches(Subset(train, indices), None, batch_size=64):
        input_batches.append(layer_features(model.net, model.params, batch.images, [HEAD], model.stats)[HEAD])
        target_batches.append(batch.targets)
    labels = torch.cat(target_batches)
    y = labels if labels.dim() == 2 else one_hot(labels.long(), layer.units)
    weight, bias = fit_ridge(torch.cat(input_batches).double(), y.double())
    model.weights[f"{HEAD}.weight"].copy_(SCORE_SCALE * weight.T)
    model.weights[f"{HEAD}.bias"].copy_(SCORE_SCALE * (bias - 0.5))


MAX_IMAGES = 5_000  # training images whose patches determine the covariance
CHUNK_SIZE = 100  # images whose patches are in memory at a time
# Added to the variances, so that noise is not amplified. Jordan adds 5e-4; in patches of JPEG images, whose colour has
# half the resolution, half of the directions have variances below 1e-2.
VARIANCE_FLOOR = 1e-2


def whiten(model: Model, path: str, train: Source) -> None:
    """Set the filters of the convolution at `path`, the first of the network, to whiten patches of training images.

    Raises PellucidError if `path` is not a convolution, or not the first.
    """
    layers = dict(walk(model.net))
    layer = layers.get(path)
    if not isinstance(layer, Conv2d):
        conv_paths = [path for path, layer in layers.items() if isinstance(layer, Conv2d)]
        problem = f"is a {type(layer).__name__}" if layer is not None else "does not exist"
        raise PellucidError(f"start.whiten: {path!r} {problem}; give the path of a Conv2d{nearest(path, conv_paths)}")
    weight = flatten(model.params)[f"{path}.weight"]
    indices = torch.randperm(len(train), generator=generator(model.seed))[:MAX_IMAGES]
    pixels = scaled(train.batch(indices.sort().values.tolist(), generator(0)).images, model.stats)
    first_weight = next(path for path in flatten(model.params) if path.endswith(".weight"))
    if first_weight != f"{path}.weight" or weight.shape[1] != pixels.shape[1]:
        raise PellucidError(f"start.whiten: {path} does not read the images; give the first convolution")
    weight.copy_(whitening_filters(pixels, layer.filters, pair(layer.kernel)))


def whitening_filters(images: Tensor, filters: int, kernel: tuple[int, int]) -> Tensor:
    """Return filters (filters, C, kH, kW) whose outputs for patches are uncorrelated, with similar variances.

    images: (N, C, H, W), scaled like the inputs of the network. The filters are the eigenvectors of the patches'
    uncentred covariance, the largest variance first, each divided by the root of its variance plus VARIANCE_FLOOR; then
    their negatives, so that a following ReLU or GELU loses nothing. Raises PellucidError for more than 2 C kH kW
    filters.
    Source: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds", section 3.2, after Page 2018.
    """
    size = images.shape[1] * kernel[0] * kernel[1]  # of a patch, which has as many directions
    if not 1 <= filters <= 2 * size:
        raise PellucidError(
            f"start.whiten: patches of {images.shape[1]} x {kernel[0]} x {kernel[1]} have {size} directions, enough "
            f"for {2 * size} filters, not {filters}"
        )
    moment_sum, n_patches = torch.zeros(size, size, dtype=torch.float64), 0
    for chunk in images.split(CHUNK_SIZE):
        patches = chunk.unfold(2, kernel[0], 1).unfold(3, kernel[1], 1)  # (n, C, H', W', kH, kW)
        patch_rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, size).double()
        moment_sum += patch_rows.T @ patch_rows
        n_patches += len(patch_rows)
    variances, directions = torch.linalg.eigh(moment_sum / n_patches)  # ascending; one direction per column
    directions_by_row = (directions / torch.sqrt(variances + VARIANCE_FLOOR)).T.flip(0)  # (size, size)
    filter_rows = torch.cat([directions_by_row, -directions_by_row])[:filters]
    return filter_rows.reshape(filters, images.shape[1], *kernel).float()
