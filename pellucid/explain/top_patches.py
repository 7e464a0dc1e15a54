"""Top patches: the images of a data set that activate a feature map most, cropped to the receptive field."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid import rules
from pellucid.base.brief import brief_repr
from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import integer
from pellucid.data.dataset import float_images
from pellucid.explain.parts import upto
from pellucid.explain.receptive_field import receptive_fields
from pellucid.explain.sweeps import forward_to, values_in_score
from pellucid.layers.base import Layer, Mode, Params
from pellucid.rules import Entrance
from pellucid.sweep import forward
from pellucid.training.callbacks import snapshot_files
from pellucid.training.model import BaseModel

Prepare = Callable[[Tensor], Tensor]  # function of stored images that returns the network's inputs
BATCH = 256  # images per forward pass
EVOLUTION_MAPS = 6  # maps of a layer whose evolution is shown


@dataclass(frozen=True, eq=False)
class TopPatches:
    """The largest activations of one map, at most one per image, largest first.

    All are on the CPU.
    images: (k,) int64, indices in the data set.
    value: (k,), the activations.
    corners: (k, 4), the receptive field of each unit, clipped at the image's edges: top, left, bottom, right in pixels;
        bottom and right are exclusive.
    deconvolution: (k, C, H, W), the DeconvNet reconstruction, in the size of the image.
    """

    path: str
    map: int
    images: Tensor
    value: Tensor
    corners: Tensor
    deconvolution: Tensor
    __repr__ = brief_repr


@torch.no_grad()
def top_patches(
    net: Layer,
    params: Params,
    images: Tensor,
    path: str,
    maps: Sequence[int] | None = None,
    count: int = 9,
    prepare: Prepare = float_images,
    batch: int = BATCH,
) -> list[TopPatches]:
    """Return, for each map of the layer at `path`, the `count` images of (N, C, H, W) with its largest activations.

    maps: indices of maps, None for all. prepare: preprocessing of a batch of images, by default uint8 to 0..1. batch:
    number of images per forward pass. Units of a dense layer are maps with one position. Raises PellucidError for
    unknown paths and maps. Source: Zeiler and Fergus 2014, section 4 and figure 2.
    """
    count, batch = integer(count, "top_patches: count", 1), integer(batch, "top_patches: batch", 1)
    strongest = activations(net, params, images, path, prepare, batch)  # (N, K)
    map_indices = range(strongest.shape[1]) if maps is None else maps
    for index in map_indices:
        if not 0 <= index < strongest.shape[1]:
            raise PellucidError(f"{path} has maps 0 to {strongest.shape[1] - 1}, no map {index}")
    patches: list[TopPatches] = []
    for index in map_indices:
        # A stable sort: equal activations keep the order of their images, which topk does not guarantee.
        image_indices = strongest[:, index].argsort(dim=0, descending=True, stable=True)[:count]
        x = prepare(images[image_indices])
        entrance = Entrance(x)
        run = forward_to(net, params, x, f"{path}[{index}]", entrance)
        corners = receptive_fields(run)
        deconvolution = run.propagate_back(rules.deconvnet()(entrance), values_in_score).cpu()
        patches.append(TopPatches(path, index, image_indices, strongest[image_indices, index], corners, deconvolution))
    return patches


@torch.no_grad()
def activations(
    net: Layer, params: Params, images: Tensor, path: str, prepare: Prepare = float_images, batch: int = BATCH
) -> Tensor:
    """Return the largest activation of each map of the layer at `path` for each image, (N, K), on the CPU."""
    subnet = upto(net, path)
    if not len(images):
        raise PellucidError("top_patches: there are no images; give at least one")
    maxima: list[Tensor] = []
    for chunk in images.split(batch):
        y, _ = forward(subnet, params, prepare(chunk), Mode(keep=False))
        if not isinstance(y, Tensor) or y.dim() not in (2, 4):
            raise PellucidError(f"the layer {path!r} outputs neither maps (N, C, H, W) nor units (N, K); give another")
        maxima.append((y.flatten(2).amax(2) if y.dim() == 4 else y).cpu())
    return torch.cat(maxima)


@torch.no_grad()
def map_means(
    net: Layer, params: Params, images: Tensor, paths: set[str], prepare: Prepare, batch: int = BATCH
) -> dict[str, Tensor]:
    """Return the mean of each map (K,) of each layer over all images and positions, on the CPU."""
    sums: dict[str, Tensor] = {}
    counts = dict.fromkeys(paths, 0)

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Any) -> None:
        if path in paths:
            y = one_tensor(path, y).cpu()
            sums[path] = sums.get(path, 0) + y.double().sum((0, *range(2, y.dim())))
            counts[path] += y.numel() // y.shape[1]

    for chunk in images.split(batch):
        forward(net, params, prepare(chunk), Mode(keep=False), watch)
    return {path: total / counts[path] for path, total in sums.items()}


def one_tensor(path: str, y: Any) -> Tensor:
    """Return `y`, the output of the layer at `path`; raise PellucidError unless it is one tensor."""
    if not isinstance(y, Tensor):
        raise PellucidError(f"the layer {path!r} outputs {len(y)} tensors; give a layer inside it")
    return y


@dataclass(frozen=True, eq=False)
class Evolution:
    """The maps of one layer at E epochs, listed in `epochs`."""

    path: str
    epochs: tuple[int, ...]
    means: Tensor  # (E, K), each map's mean activation over all images and positions
    maps: tuple[int, ...]  # the indices of the maps with the largest mean at the last epoch
    # for each of these maps and each epoch, the largest activation over all images, with its deconvolution
    strongest: list[list[TopPatches]]

    @property
    def key(self) -> str:
        """The path as used in file names."""
        return self.path.replace(".", "-")


@torch.no_grad()
def evolution(
    net: Layer,
    weights: Mapping[int, Params],
    images: Tensor,
    paths: Sequence[str],
    prepare: Prepare,
    maps: int = EVOLUTION_MAPS,
) -> list[Evolution]:
    """Return the evolution of the layers at `paths` over the weights of several epochs, on images (N, C, H, W).

    The image with the largest activation can differ between epochs; the reconstruction then changes suddenly, as in the
    paper. Raises PellucidError if there are no weights.
    Source: Zeiler and Fergus 2014, section 4.1 and figure 4.
    """
    if not weights:
        raise PellucidError("no epochs were kept; train with train.keep=[1,2,5], and give the run folder")
    means = {epoch: map_means(net, params, images, set(paths), prepare) for epoch, params in weights.items()}
    evolutions: list[Evolution] = []
    for path in paths:
        epoch_means = torch.stack([means[epoch][path] for epoch in weights])  # (E, K)
        map_indices = tuple(sorted(epoch_means[-1].argsort(descending=True, stable=True)[:maps].tolist()))
        tops = [top_patches(net, params, images, path, map_indices, 1, prepare) for params in weights.values()]
        evolutions.append(
            Evolution(path, tuple(weights), epoch_means, map_indices, [list(row) for row in zip(*tops, strict=True)])
        )
    return evolutions


def epoch_weights(model: BaseModel, run: Path) -> dict[int, Params]:
    """Return the weights that a run saved (`train.keep`), by epoch; empty if `run` is not a run folder.

    Raises PellucidError for weights of another network.
    """
    params_by_epoch: dict[int, Params] = {}
    for epoch, path in snapshot_files(run / "weights").items():
        epoch_model = BaseModel.load(path, device=str(model.device))
        if epoch_model.net != model.net:
            raise PellucidError(f"{path} contains another network than the model; remove it")
        params_by_epoch[epoch] = epoch_model.params
    return params_by_epoch
