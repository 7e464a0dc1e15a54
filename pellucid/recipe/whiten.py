"""Filters that whiten: what a first convolution does best before anything is learned."""

import torch
from torch import Tensor

from pellucid.combine.base import walk
from pellucid.data.augment.standardise import scaled
from pellucid.data.seeds import generator
from pellucid.errors import PellucidError, nearest
from pellucid.layers import Conv2d
from pellucid.layers.base import pair
from pellucid.model import Model
from pellucid.tree import flatten

IMAGES = 5_000  # that the covariance of patches is measured on
CHUNK = 100  # images whose patches are in memory at a time
# Added to the variances, so that directions of nothing but noise are not blown up. Jordan adds 5e-4; half of the
# directions of JPEG's patches, whose colour is of half the resolution, have variances below 1e-2.
FLOOR = 1e-2


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


def whitening(images: Tensor, filters: int, kernel: tuple[int, int]) -> Tensor:
    """Return filters (filters, C, kH, kW) that turn patches into uncorrelated numbers of variance 1.

    images: (N, C, H, W), scaled as the network takes them. The filters are the eigenvectors of the patches'
    covariance, each over the root of its variance, the strongest first; then their negatives, which a ReLU or GELU
    behind them needs. Raises PellucidError unless there are 2 C kH kW filters or fewer.
    Source: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds", section 3.2, after Page 2018.
    """
    size = images.shape[1] * kernel[0] * kernel[1]
    if not 1 <= filters <= 2 * size:
        raise PellucidError(
            f"start.whiten: patches of {images.shape[1]} x {kernel[0]} x {kernel[1]} have {size} directions, enough "
            f"for {2 * size} filters, not {filters}"
        )
    moments, count = torch.zeros(size, size, dtype=torch.float64), 0
    for some in images.split(CHUNK):
        patches = some.unfold(2, kernel[0], 1).unfold(3, kernel[1], 1)  # (n, C, H', W', kH, kW)
        rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, size).double()
        moments += rows.T @ rows
        count += len(rows)
    variances, directions = torch.linalg.eigh(moments / count)  # ascending; one direction per column
    white = (directions / torch.sqrt(variances + FLOOR)).T.flip(0)  # (size, size)
    both = torch.cat([white, -white])[:filters]
    return both.reshape(filters, images.shape[1], *kernel).float()
