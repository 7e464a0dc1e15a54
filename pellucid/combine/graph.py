"""Networks as directed acyclic graphs of named layers.

Fused forms: FusedGraph (fuse/combinators.py) in training; ConvertedCombinator (fuse/inference/runs.py) in prediction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pellucid.base.errors import PellucidError, nearest
from pellucid.combine.base import Back, Combinator, LayerRun, add_up, add_up_tree, init_child, name_children, shape_of
from pellucid.layers.base import Cache, Layer, Mode, Params, Trait


@dataclass(frozen=True, repr=False)
class Graph(Combinator):
    """Connect layers by name: `Graph({"c1": (Conv2d(8, 3), "input"), ..., "s": (Add(), "c1", "c2")}, ("s",))`.

    Each node is (layer, names of its inputs ...); the inputs must be earlier nodes or names in `inputs`. A layer with
    several inputs receives a tuple. A node whose layer is the name of an earlier node runs the layer of that node again
    with the same parameters, whose gradients are summed. With more than one name in `inputs`, x is a tuple. Names may
    contain dots. A parameter or a constant (Learned, Fixed) is a node without inputs. `pellucid.open` makes such
    graphs.
    outputs: the names of the nodes whose values are returned: one value, or a tuple for several names.
    """

    nodes: dict[str, tuple[Any, ...]]
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ("input",)

    def __post_init__(self) -> None:
        """Raise PellucidError for unknown inputs or outputs, duplicate names, and nodes without inputs."""
        known = set(self.inputs)
        owners: set[str] = set()
        for name, (layer, *sources) in self.nodes.items():
            if name in known:
                raise PellucidError(f"Graph: {name!r} is defined twice; give each node and input its own name")
            if isinstance(layer, str) and layer not in owners:
                raise PellucidError(
                    f"Graph: node {name!r} repeats {layer!r}, which is not an earlier node with its own layer"
                )
            for source in sources:
                if source not in known:
                    hint = nearest(source, known)
                    raise PellucidError(
                        f"Graph: node {name!r} has the input {source!r}, which is neither a graph input nor an earlier "
                        f"node{hint}"
                    )
            if not sources and not (isinstance(layer, Layer) and Trait.ANY_AXES in layer.traits):
                raise PellucidError(f"Graph: node {name!r} has no input; write (layer, input name, ...)")
            known.add(name)
            if not isinstance(layer, str):
                owners.add(name)
        name_children("Graph", (), self.layers, allow_dots=True)
        for name in self.outputs:
            if name not in known:
                raise PellucidError(f"Graph: output {name!r} is not a node{nearest(name, known)}")
        if not self.outputs:
            raise PellucidError("Graph: name at least one output")

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The nodes that own a layer, by name."""
        return {name: node[0] for name, node in self.nodes.items() if not isinstance(node[0], str)}

    def _inputs(self) -> Mapping[str, str]:
        """Return the names of each node's inputs, separated by commas."""
        return {name: ", ".join(sources) for name, (_, *sources) in self.nodes.items()}

    def rebuild(self, layers: Mapping[str, Layer]) -> "Graph":
        """Return a graph with the same connections and other layers."""
        nodes = {name: (layers.get(name, node[0]), *node[1:]) for name, node in self.nodes.items()}
        return self.with_fields(nodes=nodes)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize the nodes in order; return the parameters and the output shape, or the tuple of shapes.

        If any layer acts on whole tensors, the shapes are found by running one example in evaluation mode.
        """
        if any(Trait.ANY_AXES in layer.traits for layer in self.layers.values()):
            return self._init_by_run(shape, rng)
        shapes: dict[str, Any] = dict(zip(self.inputs, self._as_tuple(shape), strict=True))
        params: Params = {}
        for name, (layer, *sources) in self.nodes.items():
            node_inputs = tuple(shapes[source] for source in sources)
            node_x = node_inputs[0] if len(node_inputs) == 1 else node_inputs
            if isinstance(layer, str):
                _, shapes[name] = init_child(name, self.nodes[layer][0], node_x, torch.Generator())
            else:
                params[name], shapes[name] = init_child(name, layer, node_x, rng)
        out_shapes = tuple(shapes[name] for name in self.outputs)
        return params, out_shapes[0] if len(out_shapes) == 1 else out_shapes

    def _init_by_run(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        params: Params = {}

        def step(name: str, layer: Layer, _unset_params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
            if name not in params:
                has_params = Trait.LEARNS in layer.traits or bool(layer.buffers) or isinstance(layer, Combinator)
                params[name] = init_child(name, layer, shape_of(x), rng)[0] if has_params else {}
            return layer.forward(params[name], x, mode)

        shapes = self._as_tuple(shape)
        xs = tuple(torch.zeros(1, *input_shape) for input_shape in shapes)
        y, _ = self.flow({name: {} for name in self.nodes}, xs[0] if len(xs) == 1 else xs, Mode(keep=False), step)
        return params, shape_of(y)

    def flow(self, params: Params, x: Any, mode: Mode, step: LayerRun) -> tuple[Any, Cache]:
        """Run the nodes in order, releasing each value after its last use."""
        values: dict[str, Any] = dict(zip(self.inputs, self._as_tuple(x), strict=True))
        last_use = {source: name for name, (_, *sources) in self.nodes.items() for source in sources}
        outputs = frozenset(self.outputs)
        cache: dict[str, Cache] = {}
        for name, (layer, *sources) in self.nodes.items():
            owner = layer if isinstance(layer, str) else name
            node_inputs = tuple(values[source] for source in sources)
            for source in sources:
                if last_use[source] == name and source not in outputs:
                    values.pop(source, None)
            node_x = node_inputs[0] if len(node_inputs) == 1 else node_inputs
            values[name], node_cache = step(owner, self.nodes[owner][0], params[owner], node_x, mode)
            if mode.keep:
                cache[name] = node_cache
        out_values = tuple(values[name] for name in self.outputs)
        return out_values[0] if len(out_values) == 1 else out_values, cache

    def sweep(self, params: Params, cache: Cache, dy: Any, back: Back) -> tuple[Any, Params]:
        """Propagate back through the nodes in reverse order; gradients of a value that several nodes use are summed."""
        gradients: dict[str, Any] = {}
        dys = (dy,) if len(self.outputs) == 1 else dy
        for name, gradient in zip(self.outputs, dys, strict=True):
            gradients[name] = add_up(gradients.get(name), gradient)
        dparams: Params = {}
        for name, (layer, *sources) in reversed(self.nodes.items()):
            owner = layer if isinstance(layer, str) else name
            node_cache, node_dy = cache.pop(name), gradients.pop(name, None)
            if node_dy is None:  # no output depends on this node, or the layers that use it return no dx
                continue
            dx, node_dparams = back(owner, self.nodes[owner][0], params[owner], node_cache, node_dy)
            dparams[owner] = add_up_tree(dparams.get(owner, {}), node_dparams)
            if dx is None:  # the layer returns no gradient with respect to its input
                continue
            for source, gradient in zip(sources, (dx,) if len(sources) == 1 else dx, strict=True):
                gradients[source] = add_up(gradients.get(source), gradient)
        dxs = tuple(gradients.get(name) for name in self.inputs)
        return dxs[0] if len(dxs) == 1 else dxs, dparams

    def _as_tuple(self, x: Any) -> tuple[Any, ...]:
        return (x,) if len(self.inputs) == 1 else x
