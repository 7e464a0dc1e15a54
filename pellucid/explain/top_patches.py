"""Top patches: the images of a data set that activate a feature map most, cropped to the receptive field."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid import rules
from pellucid.data.dataset import float_images
from pellucid.errors import PellucidError
from pellucid.explain.receptive_field import receptive_fields
from pellucid.explain.repeated import at_least
from pellucid.explain.sweeps import forward_to, values
from pellucid.explain.upto import upto
from pellucid.layers.base import Layer, Mode, Params
from pellucid.rules import Entrance
from pellucid.sweep import forward

Prepare = Callable[[Tensor], Tensor]  # images as they are stored, to what the network reads
BATCH = 256


@dataclass(frozen=True, eq=False)
class TopPatches:
    """The largest activations of one map, at most one per image, largest first.

    images: (k,) int64, which images of the data set. value: (k,), the activation. corners: (k, 4), the receptive field
    of the unit that answered, cut off at the image's edges: top, left, bottom, right in pixels, the last two excluded.
    deconvolution: (k, C, H, W), the DeconvNet's reconstruction in the whole image.
    """

    path: str
    map: int
    images: Tensor
    value: Tensor
    corners: Tensor
    deconvolution: Tensor


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
    """Return for each of the maps of the layer at `path` the `count` images (N, C, H, W) with its largest activation.

    maps: which, None for all. prepare: what is done to images before the network reads them, `batch` at a time; uint8
    becomes 0..1 without it. Units of a dense layer are maps of one place. Raises PellucidError for a path that leads
    nowhere and maps that do not exist. Source: Zeiler and Fergus 2014, section 4 and figure 2.
    """
    at_least("top_patches", 1, count=count, batch=batch)
    strongest = activations(net, params, images, path, prepare, batch)  # (N, K)
    chosen = range(strongest.shape[1]) if maps is None else maps
    for one in chosen:
        if not 0 <= one < strongest.shape[1]:
            raise PellucidError(f"{path} has maps 0 to {strongest.shape[1] - 1}, no map {one}")
    found: list[TopPatches] = []
    for one in chosen:
        # topk leaves open which of equals it takes; the first images come first here.
        order = strongest[:, one].argsort(dim=0, descending=True, stable=True)[:count].cpu()
        x = prepare(images[order])
        entrance = Entrance(x)
        run = forward_to(net, params, x, f"{path}[{one}]", entrance)
        corners = receptive_fields(run)
        picture = run.back(rules.deconvnet()(entrance), values)
        found.append(TopPatches(path, one, order, strongest[order, one], corners, picture))
    return found


@torch.no_grad()
def activations(
    net: Layer, params: Params, images: Tensor, path: str, prepare: Prepare = float_images, batch: int = BATCH
) -> Tensor:
    """Return (N, K): for each image the largest activation of each map of the layer at `path`."""
    part = upto(net, path)
    if not len(images):
        raise PellucidError("there are no images to look through; give some")
    found: list[Tensor] = []
    for some in images.split(batch):
        y, _ = forward(part, params, prepare(some), Mode(keep=False))
        if not isinstance(y, Tensor) or y.dim() not in (2, 4):
            raise PellucidError(f"the layer {path!r} puts out neither maps (N, C, H, W) nor units (N, K); name another")
        found.append(y.flatten(2).amax(2) if y.dim() == 4 else y)
    return torch.cat(found)
