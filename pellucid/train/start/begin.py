"""Put what a recipe's [start] names in the place of weights drawn at random."""

import torch
from torch import Tensor

from pellucid.combine.base import walk
from pellucid.data.augment.standardise import scaled
from pellucid.data.seeds import generator
from pellucid.errors import PellucidError, nearest
from pellucid.layers import Conv2d
from pellucid.layers.base import pair
from pellucid.train.model import Model
from pellucid.train.start.trained import Trained
from pellucid.train.start.whiten import whitening
from pellucid.tree import flatten

IMAGES = 5_000  # that the covariance of patches is measured on


def take(model: Model, trained: Trained) -> None:
    """Give the model the features of a trained one, as copies."""
    own, found = flatten(model.params["features"]), flatten(trained.params)
    for path, tensor in own.items():
        tensor.copy_(found[path])


def whiten(model: Model, path: str, images: Tensor) -> None:
    """Set the filters of the convolution at `path`, the first of the network, to whiten patches of `images`.

    images: (N, C, H, W), as the data set holds them. Raises PellucidError where there is no such convolution.
    """
    layers = dict(walk(model.net))
    found = layers.get(path)
    if not isinstance(found, Conv2d):
        known = [path for path, layer in layers.items() if isinstance(layer, Conv2d)]
        what = f"is a {type(found).__name__}" if found is not None else "does not exist"
        raise PellucidError(f"start.whiten: {path!r} {what}; give the path of a Conv2d{nearest(path, known)}")
    weight = flatten(model.params)[f"{path}.weight"]
    drawn = torch.randperm(len(images), generator=generator(model.seed))[:IMAGES]
    some = images[drawn.sort().values]
    pixels = scaled(some, model.stats)
    first = next(path for path in flatten(model.params) if path.endswith(".weight"))
    if first != f"{path}.weight" or weight.shape[1] != pixels.shape[1]:
        raise PellucidError(f"start.whiten: {path} does not read the images; give the first convolution")
    weight.copy_(whitening(pixels, found.filters, pair(found.kernel)))
