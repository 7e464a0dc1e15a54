"""Explanations of indices, such as tokens or classes: at the vectors that a network reads for them from a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pellucid.base.brief import brief_repr
from pellucid.base.errors import PellucidError
from pellucid.combine.graph import Graph
from pellucid.explain.parts import needed_values
from pellucid.layers.base import Layer, Mode, Params, Trait
from pellucid.operators import Gather, Index, Learned, Positions, StepFunction

METHODS_WITH_BASELINE = ("integrated_gradients", "deeplift")


@dataclass(frozen=True, eq=False)
class AtEmbeddings:
    """The part of a network after its embeddings.

    inputs: the explained inputs: for indices the vectors (N, ..., D) read for them, and all others. fixed_indices: the
    indices, if the network also uses them in another way, such as for a mask; they are no part of the explanation.
    """

    net: Layer
    inputs: tuple[Tensor, ...]
    is_read: tuple[bool, ...]  # for each of them, whether it is read from a table
    fixed_indices: tuple[Tensor, ...] = ()
    __repr__ = brief_repr

    @property
    def x(self) -> Any:
        """The input of the network."""
        xs = self.inputs + self.fixed_indices
        return xs[0] if len(xs) == 1 else xs

    @property
    def channel_axes(self) -> list[int | None]:
        """The axis of each explained input that occlusion hides completely: that of the vectors, or of channels."""
        pairs = zip(self.inputs, self.is_read, strict=True)
        return [x.dim() - 1 if is_read else (1 if x.dim() > 2 else None) for x, is_read in pairs]

    def explained_maps(self, maps: Any) -> Any:
        """Return the maps of the explained inputs: one, or a tuple."""
        maps = maps[: len(self.inputs)] if isinstance(maps, tuple) else maps
        return maps[0] if isinstance(maps, tuple) and len(maps) == 1 else maps


def at_embeddings(net: Layer, params: Params, x: Any) -> AtEmbeddings | None:
    """Return the part of a graph after its embeddings with their outputs for x, or None if it has none."""
    if not isinstance(net, Graph):
        return None
    xs = x if isinstance(x, tuple) else (x,)
    # the input from which the indices of an embedding are computed, by the name of the embedding
    input_by_embedding: dict[str, str] = {}
    for name, (layer, *sources) in net.nodes.items():
        if isinstance(layer, Index | Gather) and _is_constant(net, sources[0]) and _comes_from_indices(net, sources[1]):
            input_by_embedding[name] = next(
                source for source in net.inputs if source in needed_values(net.nodes, sources[1:])
            )
    if not input_by_embedding:
        return None
    # the embeddings become inputs of the part, with the vectors that they output for x as values
    nodes = {name: node for name, node in net.nodes.items() if name not in input_by_embedding}
    needed = needed_values(nodes, net.outputs)
    vectors = _values(net, params, x, tuple(input_by_embedding))
    names: list[str] = []
    for source in net.inputs:
        embeddings = [
            name for name, input_name in input_by_embedding.items() if input_name == source and name in needed
        ]
        names += embeddings or [source]
    fixed_indices = [source for source in net.inputs if source not in names and source in needed]
    values = {**dict(zip(net.inputs, xs, strict=True)), **vectors}
    part_nodes = {name: node for name, node in nodes.items() if name in needed}
    part = Graph(part_nodes, net.outputs, (*names, *fixed_indices))
    is_read = tuple(name in input_by_embedding for name in names)
    return AtEmbeddings(
        part, tuple(map(values.__getitem__, names)), is_read, tuple(map(values.__getitem__, fixed_indices))
    )


def with_fixed_baseline(method: str, embedded: AtEmbeddings, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a method that changes inputs, with `fixed_indices` as their own baseline.

    They then stay as they are. Raises PellucidError for a method without a baseline.
    """
    if not embedded.fixed_indices:
        return dict(options)
    if method not in METHODS_WITH_BASELINE:
        raise PellucidError(
            f"{method} changes all inputs, and the network also uses indices without their embedding, as for a mask; "
            "use integrated_gradients, input_x_gradient or lrp"
        )
    baseline = options.get("baseline", 0.0)
    baselines = baseline if isinstance(baseline, tuple) else (baseline,) * len(embedded.inputs)
    return {**options, "baseline": (*baselines, *embedded.fixed_indices)}


def _is_constant(net: Graph, name: str) -> bool:
    """Return whether a value depends on no input."""
    return needed_values(net.nodes, (name,)).isdisjoint(net.inputs)


def _comes_from_indices(net: Graph, name: str) -> bool:
    """Return whether indices are inputs, or numbers computed from inputs of indices, and not from other inputs."""
    needed = needed_values(net.nodes, (name,))
    computed = [net.nodes[source][0] for source in needed if source in net.nodes]
    return not needed.isdisjoint(net.inputs) and not any(
        isinstance(layer, Positions | Learned)
        or Trait.WEIGHTED in layer.traits
        or (isinstance(layer, StepFunction) and layer.function.startswith("int"))
        for layer in computed
        if isinstance(layer, Layer)
    )


def _values(net: Graph, params: Params, x: Any, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return values of a graph by name."""
    needed = needed_values(net.nodes, names)
    nodes = {name: node for name, node in net.nodes.items() if name in needed}
    y, _ = Graph(nodes, names, net.inputs).forward(params, x, Mode(keep=False))
    return dict(zip(names, (y,) if len(names) == 1 else y, strict=True))
