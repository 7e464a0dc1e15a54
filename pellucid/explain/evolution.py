"""The patches that activate a network's maps most, by epoch of its training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.explain.ablation import map_means
from pellucid.explain.top_patches import Prepare, TopPatches, top_patches
from pellucid.layers.base import Layer, Params
from pellucid.training.callbacks import kept_epochs
from pellucid.training.model import BaseModel

MAPS = 6


@dataclass(frozen=True, eq=False)
class Evolution:
    """One layer over E epochs, the numbers of which are `epochs`.

    means: (E, K), each map's mean activation over all images and places. maps: those with the largest at the end.
    strongest: of each of them, for each epoch, the strongest activation over all images, with its deconvolution.
    """

    path: str
    epochs: tuple[int, ...]
    means: Tensor
    maps: tuple[int, ...]
    strongest: list[list[TopPatches]]


@torch.no_grad()
def evolution(
    net: Layer,
    weights: Mapping[int, Params],
    images: Tensor,
    paths: Sequence[str],
    prepare: Prepare,
    maps: int = MAPS,
) -> list[Evolution]:
    """Return the evolution of the layers at `paths` over the weights of several epochs, on images (N, C, H, W).

    A strongest image that changes from one epoch to the next shows in the picture as a jump, as in the paper.
    Source: Zeiler and Fergus 2014, section 4.1 and figure 4.
    """
    if not weights:
        raise PellucidError("there are no weights of epochs; train with train.keep=[1,2,5], and give the run folder")
    means = {epoch: map_means(net, params, images, set(paths), prepare) for epoch, params in weights.items()}
    found: list[Evolution] = []
    for path in paths:
        table = torch.stack([means[epoch][path] for epoch in weights])  # (E, K)
        chosen = tuple(sorted(table[-1].argsort(descending=True, stable=True)[:maps].tolist()))
        tops = [top_patches(net, params, images, path, chosen, 1, prepare) for params in weights.values()]
        found.append(Evolution(path, tuple(weights), table, chosen, [list(row) for row in zip(*tops, strict=True)]))
    return found


def epoch_weights(model: BaseModel, run: Path) -> dict[int, Params]:
    """Return the weights that a run kept of its epochs (`train.keep`), by epoch; none of what is no run folder.

    Raises PellucidError for those of another network.
    """
    found: dict[int, Params] = {}
    for epoch, path in kept_epochs(run / "weights").items():
        other = BaseModel.load(path)
        if other.net != model.net:
            raise PellucidError(f"{path} holds another network than the model; remove it")
        found[epoch] = other.params
    return found
