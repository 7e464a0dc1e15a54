"""The features of a trained model, ours or published, in the place of weights drawn at random."""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pellucid.data import data_root
from pellucid.errors import PellucidError
from pellucid.layers.base import Layer, Params, Shape
from pellucid.model import Model
from pellucid.models import features
from pellucid.models.fcn import backbone_of, plain_path
from pellucid.run.find import weights_file
from pellucid.run.weights import is_ours
from pellucid.tree import flatten, nest
from pellucid.weights import open_weights
from pellucid.weights.catalogue import CATALOGUE
from pellucid.weights.match import match
from pellucid.weights.names import form, source_of, take_weights

IMAGENET = 224  # pixels, the side of images that backbones were trained on
ALIASES = {"mobilenet_v2-keras-notop": ("mobilenet_v2_imagenet_no_top.h5",)}  # other names of published files
STRIDE = 32  # pixels of an image for one of MobileNetV2's last maps


@dataclass(frozen=True, eq=False)
class Trained:
    """The parameters of `features`, and by which mean and deviation of each channel their images were scaled.

    `mean` and `std` are empty where the images were not scaled.
    """

    params: Params
    mean: tuple[float, ...]
    std: tuple[float, ...]


def trained_features(name: str, net: Layer, shape: Shape, root: str | os.PathLike[str] | None = None) -> Trained:
    """Return what `features` of a network for images of `shape` begin with.

    name: a pretrained model's name, a run folder, a weights file of ours or a published one, or a name of
    `pellucid weights list`, whose file is looked for below `root`. Raises PellucidError where there is no such
    model, or where its features are not those of `net`.
    """
    path = source_file(name, root)
    backbone = backbone_of(net)
    if backbone is not None:  # its own features, cut for the skips
        found = trained_features(name, backbone, (shape[0], IMAGENET, IMAGENET), root)
        with torch.device("meta"):  # paths only
            wanted, _ = features(net).init(shape, torch.Generator())
        held = flatten(found.params)
        return replace(found, params=nest(wanted, {path: held[plain_path(path)] for path in flatten(wanted)}))
    return _own(name, path, net, shape) if is_ours(path) else _published(path, net, shape)


def take(model: Model, trained: Trained) -> None:
    """Give the model the features of a trained one, as copies."""
    own, found = flatten(model.params["features"]), flatten(trained.params)
    for path, tensor in own.items():
        tensor.copy_(found[path])


def source_file(name: str, root: str | os.PathLike[str] | None = None) -> Path:
    """Return the file that `start.weights` names; PellucidError where there is none."""
    if name not in CATALOGUE:
        return weights_file(name)
    folder = data_root(root) / "weights"
    path = next((folder / file for file in ALIASES.get(name, ()) if (folder / file).is_file()), None)
    path = path or folder / CATALOGUE[name].file
    if not path.is_file():
        raise PellucidError(f"start.weights: {path} is missing; say `pellucid weights get {name}` first")
    return path


def source_checksum(name: str, root: str | os.PathLike[str] | None = None) -> str | None:
    """Return the SHA-256 of that file; None without a name."""
    if not name:
        return None
    with source_file(name, root).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _own(name: str, path: Path, net: Layer, shape: Shape) -> Trained:
    other, own = Model.load(path), form(net)
    try:
        theirs = form(other.net)
    except PellucidError as error:
        raise PellucidError(f"start.weights: {name}: {error}") from error
    with torch.device("meta"):  # shapes only
        wanted, _ = features(net).init(shape, torch.Generator())
    if own != theirs or match(flatten(wanted), flatten(other.params["features"])):
        raise PellucidError(
            f"start.weights: the features of {name} are of another form than this network's; give [network] the "
            "model and the settings that it was trained with"
        )
    if other.input_shape[0] != shape[0]:
        raise PellucidError(
            f"start.weights: {name} takes images of {other.input_shape[0]} channels, not {shape[0]}; set data.mode"
        )
    stats = other.stats
    scaling = () if stats is None else (stats.mean.flatten().tolist(), stats.std.flatten().tolist())
    mean, std = map(tuple, scaling or ((), ()))
    return Trained(other.params["features"], mean, std)


def _published(path: Path, net: Layer, shape: Shape) -> Trained:
    tensors = open_weights(path)
    source = source_of(net, tensors, path)
    if source.naming.options.get("pad") == "same" and any(side % STRIDE for side in shape[1:]):
        raise PellucidError(
            f"start.weights: {path} is of Keras, which pads as our network does only where sides are multiples of "
            f"{STRIDE}, not {' x '.join(map(str, shape[1:]))}; set data.size to one"
        )
    drawn, _ = features(net).init(shape, torch.Generator())
    params = take_weights(net, {"features": drawn}, tensors, path, "features")["features"]
    inputs = source.naming.inputs
    if inputs is None:
        return Trained(params, (), ())
    if inputs.order == "BGR":
        first = _first_filters(params)
        first.copy_(first.flip(1))  # so that the network takes RGB, as all images here are
    return Trained(params, inputs.mean, inputs.std)


def _first_filters(params: Params) -> Tensor:
    """Return the weight (filters, 3, kH, kW) that reads the image."""
    return next(tensor for tensor in flatten(params).values() if tensor.dim() == 4)
