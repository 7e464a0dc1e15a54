"""Ablation: the accuracy of a network without some of its layers or feature maps, without retraining it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.settings.checks import check_choice, integer
from pellucid.base.settings.tensors import as_tensor
from pellucid.combine import Sequential
from pellucid.combine.base import Combinator, join, walk
from pellucid.data.dataset import float_images
from pellucid.explain.sweeps import fix_target
from pellucid.explain.target import Target, aim
from pellucid.explain.top_patches import BATCH, Prepare, map_means, one_tensor
from pellucid.layers import ConvTranspose2d, Dense, Flatten
from pellucid.layers.base import Cache, Layer, Mode, Params, Trait
from pellucid.metrics import accuracy, classes_of
from pellucid.nested import params_at
from pellucid.sweep import run

OutputEdit = Callable[[Any], Any]  # function of a layer's output that returns its replacement
FILLS = ("zero", "mean")


@dataclass(frozen=True)
class Removal:
    """The ablation of feature maps of the layer at `path`: those with indices `maps`, or all if None."""

    path: str
    maps: tuple[int, ...] | None = None

    def __str__(self) -> str:
        """Return the path with the maps: "conv2[3, 5]"."""
        return self.path if self.maps is None else f"{self.path}[{', '.join(map(str, self.maps))}]"


@dataclass(frozen=True)
class AblationRow:
    """A row of a table of ablations: the removals, the number of parameters removed, and the accuracy."""

    removals: tuple[Removal, ...]
    parameters: int
    accuracy: float

    @property
    def name(self) -> str:
        """The removals as text, "nothing" if there are none."""
        return ", ".join(map(str, self.removals)) or "nothing"


@torch.no_grad()
def ablation_table(
    net: Layer,
    params: Params,
    images: Tensor,
    labels: Tensor,
    rows: Sequence[Sequence[Removal]] | None = None,
    by: str = "zero",
    prepare: Prepare = float_images,
    batch: int = BATCH,
) -> list[AblationRow]:
    """Return the accuracy on images (N, C, H, W) of the unchanged network, and with the removals of each row.

    rows: by default one for each layer with weights except the last, one for all dense layers among them, and one for
    all convolutions among them except the first. by: "zero", or "mean" for a map's mean over images and positions,
    which changes the inputs of later layers less. A removed layer has a constant output, so layers that change the
    shape can be removed too. The network is not retrained; Zeiler and Fergus 2014, table 3, retrain it.
    Raises PellucidError for unknown paths and maps.
    """
    integer(batch, "ablation_table: batch", 1)
    check_choice("ablation", FILLS, by=by)
    removal_rows = [tuple(row) for row in (default_rows(net) if rows is None else rows)]
    paths = {removal.path for row in removal_rows for removal in row}
    means = map_means(net, params, images, paths, prepare, batch) if by == "mean" else {}
    table_rows: list[AblationRow] = []
    for row in [(), *removal_rows]:
        edits = {removal.path: _ablation_edit(removal, means.get(removal.path)) for removal in row}
        predicted = [
            classes_of(forward_with_edits(net, params, prepare(chunk), edits)).cpu() for chunk in images.split(batch)
        ]
        fraction = accuracy(labels.cpu(), torch.cat(predicted))
        table_rows.append(AblationRow(row, sum(_count_parameters(net, params, removal) for removal in row), fraction))
    return table_rows


@torch.no_grad()
def map_effects(net: Layer, params: Params, x: Tensor, target: Target, path: str, by: Tensor | float = 0.0) -> Tensor:
    """Return (N, K): the decrease of the target's score when one map of the layer at `path` is ablated.

    by: the value that replaces the map, a number or one value for each map (K,). target: see `aim`; a unit inside the
    network must come after the layer. Source: Zeiler and Fergus 2014, section 5.1.
    """
    selection = aim(net, fix_target(net, params, x, target), len(x))
    map_counts: list[int] = []

    def count_maps(y: Any) -> Tensor:
        y = one_tensor(path, y)
        map_counts.append(y.shape[1])
        return y

    y = forward_with_edits(selection.net, params, x, {path: count_maps})
    fill = as_tensor(by, "map_effects: by").to(x).expand(map_counts[0])
    score = selection.score(y)
    decreases: list[Tensor] = []
    for k in range(map_counts[0]):
        y_without = forward_with_edits(selection.net, params, x, {path: _ablation_edit(Removal(path, (k,)), fill)})
        decreases.append(score - selection.score(y_without))
    return torch.stack(decreases, 1)


def forward_with_edits(net: Layer, params: Params, x: Any, edits: Mapping[str, OutputEdit]) -> Any:
    """Run `net` on x in evaluation mode, with the outputs of some layers edited by the functions `edits`, by path.

    The network is unchanged. A layer that runs several times is edited each time. Raises PellucidError for an unknown
    path.
    """
    paths = [path for path, _ in walk(net)]
    for path in edits:
        if path not in paths:
            raise PellucidError(f"no layer {path!r}{nearest(path, paths)}")

    def edit_output(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> Any:
        return edits[path](y) if path in edits else y

    return run(net, params, x, Mode(keep=False), after=edit_output)[0]


def default_rows(net: Layer) -> list[tuple[Removal, ...]]:
    """Return the default removals of a table; see `ablation_table`."""
    layers = [(path, layer) for path, layer in walk(net) if Trait.WEIGHTED in layer.traits]
    weighted = [(Removal(path), isinstance(layer, Dense)) for path, layer in layers]
    dense = tuple(removal for removal, is_dense in weighted[:-1] if is_dense)
    convolutions = tuple(removal for removal, is_dense in weighted[:-1] if not is_dense)[1:]
    return [*((removal,) for removal, _ in weighted[:-1]), *(row for row in (dense, convolutions) if len(row) > 1)]


def _ablation_edit(removal: Removal, fill: Tensor | None) -> OutputEdit:
    """Return the function that ablates an output; fill: one value for each map, None for 0."""

    def edit(y: Any) -> Tensor:
        y = one_tensor(removal.path, y)
        maps = list(range(y.shape[1])) if removal.maps is None else list(removal.maps)
        if not all(0 <= k < y.shape[1] for k in maps):
            raise PellucidError(f"{removal}: the layer has maps 0 to {y.shape[1] - 1}")
        y_ablated = y.clone()
        shape = (1, -1, *(1,) * (y.dim() - 2))
        y_ablated[:, maps] = 0 if fill is None else fill[maps].to(y).view(shape)
        return y_ablated

    return edit


def _count_parameters(net: Layer, params: Params, removal: Removal) -> int:
    """Return the number of parameters that are only needed for the removed outputs.

    Each map of a layer has the same number. For maps of a Sequential, the parameters of its last layer with weights and
    of the layers after it are counted; for maps of merged branches, the number is 0.
    """
    layer = dict(walk(net))[removal.path]
    layer_params = params_at(params, removal.path)
    if removal.maps is not None:
        return len(removal.maps) * _count_map_parameters(layer, layer_params)
    if not isinstance(layer, Combinator):
        return sum(leaf.numel() for leaf in _learned_parameters(layer, layer_params))
    child_removals = (Removal(join(removal.path, name)) for name in layer.layers)
    return sum(_count_parameters(net, params, child_removal) for child_removal in child_removals)


def _count_map_parameters(layer: Layer, params: Params) -> int:
    """Return the number of parameters that are only needed for one output map of a layer."""
    if isinstance(layer, Sequential):
        count = 0
        for name, child in reversed(layer.children.items()):
            count += _count_map_parameters(child, params[name])
            if Trait.WEIGHTED in child.traits or isinstance(child, Combinator | Flatten):
                break
        return count
    if isinstance(layer, Combinator):
        return 0
    # The weights of a ConvTranspose2d are (C, filters / groups, kH, kW); in all other layers axis 0 is the output maps.
    return sum(
        leaf.numel() // (layer.filters if isinstance(layer, ConvTranspose2d) else len(leaf))
        for leaf in _learned_parameters(layer, params)
    )


def _learned_parameters(layer: Layer, params: Params) -> list[Tensor]:
    return [leaf for name, leaf in params.items() if name not in layer.buffers]
