"""Fused forms of combinators: a Sequential with groups of fused layers, a residual block, and a Graph.

Of a Graph, consecutive layers become sequences, and sums are computed in memory that nothing else reads.
Tests: tests/fuse/test_fuse.py, tests/fuse/test_graph.py.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from pellucid.combine.base import Back, Combinator, LayerRun, add_up, add_up_tree
from pellucid.combine.graph import Graph
from pellucid.fuse.context import FusedForm, NoCache
from pellucid.layers.base import Cache, Layer, Mode, Params, Trait


@dataclass(frozen=True)
class FusedSequential(Combinator):
    """Replace a Sequential with some of its children fused into groups."""

    children: dict[str, Layer]
    # the names of the children that replace several layers each. Such a child receives all params of the Sequential,
    # and returns the gradients of all layers that it replaces, by their names.
    groups: frozenset[str]

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The children by name; a group has the name of its first layer."""
        return self.children

    def rebuild(self, layers: Mapping[str, Layer]) -> "FusedSequential":
        """Return the same sequence with other layers."""
        return FusedSequential(dict(layers), self.groups)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise the layers in order."""
        params: Params = {}
        for name, child in self.children.items():
            child_params, shape = child.init(shape, rng)
            params |= child_params if name in self.groups else {name: child_params}
        return params, shape

    def flow(self, params: Params, x: Any, mode: Mode, step: LayerRun) -> tuple[Any, Cache]:
        """Run the layers in order."""
        cache = {}
        for name, child in self.children.items():
            x, child_cache = step(name, child, params if name in self.groups else params[name], x, mode)
            if mode.keep:
                cache[name] = child_cache
        return x, cache

    def sweep(self, params: Params, cache: Cache, dy: Any, back: Back) -> tuple[Any, Params]:
        """Propagate back through the layers in reverse order."""
        dparams: Params = {}
        for name, child in reversed(self.children.items()):
            if dy is None:  # the gradient with respect to this child's output is not needed
                break
            is_group = name in self.groups
            dy, child_dparams = back(name, child, params if is_group else params[name], cache.pop(name), dy)
            if is_group:
                dparams |= child_dparams
            else:
                dparams[name] = child_dparams
        return dy, dparams


@dataclass(frozen=True)
class FusedResidual(Combinator):
    """Replace `Parallel({...two branches...}, Add())`; the sum is computed in the output of the branch `target`.

    That output must be new memory that is not in any cache. In the backward pass, the other branch's dx is added to the
    target's dx, which must be new memory as well.
    """

    branches: dict[str, Layer]
    target: str

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The two branches by name."""
        return self.branches

    def rebuild(self, layers: Mapping[str, Layer]) -> "FusedResidual":
        """Return the same block with other branches."""
        return FusedResidual(dict(layers), self.target)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise each branch for the input shape."""
        params: Params = {}
        output_shape = shape
        for name, branch in self.branches.items():
            params[name], output_shape = branch.init(shape, rng)
        return params | {"merge": {}}, output_shape

    def flow(self, params: Params, x: Any, mode: Mode, step: LayerRun) -> tuple[Any, Cache]:
        """Run both branches on x, and add the other branch's output to the target's in place."""
        cache, ys = {}, {}
        for name, branch in self.branches.items():
            ys[name], child_cache = step(name, branch, params[name], x, mode)
            if mode.keep:
                cache[name] = child_cache
        y = ys.pop(self.target)
        (other_y,) = ys.values()
        return y.add_(other_y), cache

    def sweep(self, params: Params, cache: Cache, dy: Any, back: Back) -> tuple[Any, Params]:
        """Propagate dy back through both branches, and add the other branch's dx to the target's in place."""
        dxs: dict[str, Any] = {}
        dparams: Params = {"merge": {}}
        for name, branch in reversed(self.branches.items()):
            dxs[name], dparams[name] = back(name, branch, params[name], cache.pop(name), dy)
        dx = dxs.pop(self.target)
        (other_dx,) = dxs.values()
        if dx is None or other_dx is None:  # a branch without a dx has no input that needs one
            return other_dx if dx is None else dx, dparams
        return dx.add_(other_dx), dparams


@dataclass(frozen=True)
class FusedGraph(Combinator):
    """Replace a Graph with one whose nodes are chains, sequences of layers each of which reads only the one before."""

    graph: Graph  # its nodes are the chains; each has the name of its last layer
    # the names of the layers of each chain; layers without inputs, and those that are used more than once, are in no
    # chain
    chains: Mapping[str, tuple[str, ...]]
    own_dy: frozenset[str]  # the chains that may overwrite their dy
    new_dx: frozenset[str]  # the chains that return a dx in new memory, to which other gradients are added in place

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The chains by name."""
        return self.graph.layers

    def rebuild(self, layers: Mapping[str, Layer]) -> "FusedGraph":
        """Return a graph with the same connections and other chains."""
        return replace(self, graph=self.graph.rebuild(layers))

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize the layers in order."""
        params, output_shape = self.graph.init(shape, rng)
        return self._by_layer(params), output_shape

    def flow(self, params: Params, x: Any, mode: Mode, step: LayerRun) -> tuple[Any, Cache]:
        """Run the chains in order."""
        return self.graph.flow(self._by_chain(params), x, mode, step)

    def sweep(self, params: Params, cache: Cache, dy: Any, back: Back) -> tuple[Any, Params]:
        """Propagate back through the chains in reverse order; gradients of a value are summed in place if possible."""
        graph = self.graph
        chain_params = self._by_chain(params)
        gradients: dict[str, Any] = {}
        owned: set[str] = set()  # the values whose gradient is new memory that nothing else reads

        def add(name: str, gradient: Any, is_new: bool) -> None:
            total = gradients.get(name)
            if total is None or gradient is None:
                gradients[name] = add_up(total, gradient)
            elif isinstance(gradient, Tensor) and (name in owned or is_new):
                gradients[name] = total.add_(gradient) if name in owned else gradient.add_(total)
                is_new = True
            else:
                gradients[name] = add_up(total, gradient)
                is_new = True
            if is_new:
                owned.add(name)

        for name, gradient in zip(graph.outputs, (dy,) if len(graph.outputs) == 1 else dy, strict=True):
            add(name, gradient, False)
        dparams: Params = {}
        for name, (layer, *sources) in reversed(graph.nodes.items()):
            owner = layer if isinstance(layer, str) else name
            node_cache, node_dy = cache.pop(name), gradients.pop(name, None)
            if node_dy is None:  # no output depends on this node, or the layers that use it return no dx
                continue
            if name in self.own_dy and name not in owned and isinstance(node_dy, Tensor):
                node_dy = node_dy.clone()  # no output depends on the layer whose dx would be new memory
            dx, node_dparams = back(owner, graph.nodes[owner][0], chain_params[owner], node_cache, node_dy)
            dparams[owner] = add_up_tree(dparams.get(owner, {}), node_dparams)
            if dx is None:
                continue
            for source, gradient in zip(sources, (dx,) if len(sources) == 1 else dx, strict=True):
                add(source, gradient, name in self.new_dx)
        dxs = tuple(gradients.get(name) for name in graph.inputs)
        return dxs[0] if len(dxs) == 1 else dxs, self._by_layer(dparams)

    def _by_chain(self, params: Params) -> Params:
        """Return the params by node from those by layer."""
        result: Params = {}
        for name in self.layers:
            if name in self.chains:
                result[name] = {layer: params[layer] for layer in self.chains[name]}
            else:
                result[name] = params[name]
        return result

    def _by_layer(self, params: Params) -> Params:
        """Return the params by layer from those by node."""
        result: Params = {}
        for name, values in params.items():
            result |= values if name in self.chains else {name: values}
        return result


@dataclass(frozen=True)
class FusedAdd(FusedForm):
    """Replace an Add, without a cache of its inputs."""

    # NEW_OUTPUT: newly allocated, so other layers may overwrite it.
    traits: ClassVar[Trait] = Trait.NEW_OUTPUT

    count: int  # the number of inputs
    target: int | None  # the index of the input whose memory receives the sum; None for new memory

    def forward(self, params: Params, x: tuple[Tensor, ...], mode: Mode) -> tuple[Tensor, NoCache]:
        """Compute y = x1 + x2 + ..."""
        if self.target is None or len({tensor.dtype for tensor in x}) > 1:
            return self.layer.forward(params, x, mode)[0], NoCache()
        y = x[self.target]
        for index, other in enumerate(x):
            if index != self.target:
                y.add_(other)
        return y, NoCache()

    def backward(self, params: Params, cache: NoCache, dy: Tensor) -> tuple[tuple[Tensor, ...], Params]:
        """Return dy for every input."""
        return (dy,) * self.count, {}


def chains_of(graph: Graph, in_order: bool = True) -> list[tuple[str, ...]]:
    """Return the names of the layers of each chain, ordered by their last layers.

    A chain begins with a layer that has inputs, and goes on with a node that reads only the last node of the chain,
    which nothing else reads, neither a node nor the output. in_order: whether that node must also be the next one of
    the graph. The order of all layers is then unchanged, and with it the random numbers that they draw.
    """
    n_readers = count_readers(graph)
    unshared = unshared_nodes(graph)
    chains: dict[str, tuple[str, ...]] = {}  # by the name of the last layer
    previous = ""
    for name, (_, *sources) in graph.nodes.items():
        source = sources[0] if len(sources) == 1 else ""
        may_join = {name, source} <= unshared and source in chains and (source == previous or not in_order)
        if may_join and n_readers[source] == 1 and graph.nodes[source][1:]:
            chains[name] = (*chains.pop(source), name)
        else:
            chains[name] = (name,)
        previous = name
    return [*chains.values()]


def unshared_nodes(graph: Graph) -> set[str]:
    """Return the names of the nodes whose layers are run by no other node."""
    owners = Counter(layer if isinstance(layer, str) else name for name, (layer, *_) in graph.nodes.items())
    return {name for name in graph.layers if owners[name] == 1}


def count_readers(graph: Graph) -> Counter[str]:
    """Return how often each value is read: by nodes, and as an output of the graph."""
    return Counter([*graph.outputs, *(source for _, *sources in graph.nodes.values() for source in sources)])
