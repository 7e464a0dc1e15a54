"""An ONNX file as a network with an explicit backward pass."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.combine import Graph
from pellucid.layers.base import Params
from pellucid.nested import flatten
from pellucid.network.bounds import init_within_bounds
from pellucid.network.inputs import NOMINAL_SIDE, OTHER_SIDE, nominal_shape
from pellucid.opening.onnx.folding import HALF_DTYPES, to_float32
from pellucid.opening.onnx.network import OnnxGraph, cut_at_suppression
from pellucid.opening.onnx.patterns import Patterns
from pellucid.opening.onnx.quantized import without_quantization
from pellucid.opening.onnx_nodes.proto import PRODUCER, import_optional, read_proto
from pellucid.operators import AffineMap
from pellucid.run.weights import nest_like
from pellucid.weights.fault import FileFault, file_errors, quoted

FLOAT16 = 10  # TensorProto.FLOAT16
UINT8 = 2  # TensorProto.UINT8
MAX_BYTE = 255.0
# Dtypes of inputs, by TensorProto.DataType: 16-bit floats and pixels are converted to float32, integers are indices.
DTYPES = {1: torch.float32, FLOAT16: torch.float32, UINT8: torch.float32, 7: torch.int64}
# Operators with the same results for uint8 as for floats.
MOVING_OPS = ("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze")
_DAMAGE_ERRORS = (RuntimeError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, MemoryError)


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """The network of an ONNX file."""

    net: Graph
    params: Params
    # the shape of an input without the batch axis, with None for a free height or width; a tuple of shapes for several
    # inputs
    input_shape: Any
    inputs: tuple[str, ...]  # the names of the inputs in the file
    outputs: tuple[str, ...]  # the names of the outputs in the file
    cut: tuple[str, ...]  # the omitted operators of a detector, which start with the suppression
    batch: int | None  # the file's batch size, None for any
    # whether the file computes with 16-bit weights, which limits the precision of onnxruntime's outputs; weights that
    # it casts to float32 first do not count
    in_halves: bool
    takes_bytes: bool  # whether the file's inputs are uint8, and the network's 0 to 1
    n_quantized: int  # quantized weights and values that are floats here
    proto: Any = field(repr=False)  # the file's model


def read_onnx(path: str | os.PathLike[str], examples: Sequence[tuple[int, ...]] | None = None) -> OnnxNetwork:
    """Return the network of an ONNX file, with all weights in float32.

    examples: the shapes of inputs (N, ...), which set the sizes that the file leaves free. Without them, a free height
    and width stay free if the network is the same for all sizes; otherwise PellucidError is raised. It is also raised
    for a file that is damaged, stores weights in other files or exceeds the limits of `init_within_bounds`, and for
    nodes without a layer, which the message lists.
    """
    path = Path(path)
    onnx = import_optional("onnx")
    if not path.is_file():
        raise PellucidError(f"{path} is missing; give an ONNX file")
    onnx_errors = (onnx.checker.ValidationError, import_optional("google.protobuf.message").DecodeError)
    with file_errors(path, "ONNX model", (*onnx_errors, *_DAMAGE_ERRORS)):
        model, opset, stored_constants = read_proto(onnx, path)
        n_quantized = without_quantization(onnx, model, opset, stored_constants)
        constants = {name: to_float32(tensor) for name, tensor in stored_constants.items()}
        declared_shapes = _input_shapes(model.graph)
        batch = _declared_batch(declared_shapes)
        names, shapes = list(declared_shapes), _example_shapes(declared_shapes, examples)
        has_free_sizes = any(None in shape for shape in shapes)
        nodes, outputs, cut_ops = cut_at_suppression(
            [node for node in model.graph.node if node.op_type != "Constant" or node.domain],
            [output.name for output in model.graph.output],
        )
        if has_free_sizes and (len(shapes) > 1 or len(shapes[0]) != 3 or shapes[0][0] is None):
            raise FileFault(
                f"has no fixed sizes for its input {quoted(names[0])}",
                "give an example (--input)",
            )
        graph_inputs = [graph_input for graph_input in model.graph.input if graph_input.name in declared_shapes]
        dtypes = {graph_input.name: DTYPES[graph_input.type.tensor_type.elem_type] for graph_input in graph_inputs}
        nodes = Patterns(onnx, nodes, constants, outputs).merged_nodes()
        half_names = {name for name, tensor in stored_constants.items() if tensor.dtype in HALF_DTYPES}
        in_halves = any(not half_names.isdisjoint(node.input) for node in model.graph.node if node.op_type != "Cast")
        initializers = [initializer.name for initializer in model.graph.initializer]
        if not any(_is_weight(stored_constants[name]) for name in initializers):
            initializers = list(stored_constants)  # some exporters write weights as Constant nodes
        takes_bytes = _takes_bytes(model.graph.node, graph_inputs)

        def build_network(side: int) -> tuple[Graph, Params]:
            sizes = {name: nominal_shape(shape, side) for name, shape in zip(names, shapes, strict=True)}
            network = OnnxGraph(onnx, opset, constants, initializers, sizes, dtypes, batch)
            if model.producer_name == PRODUCER:  # such as a detector with its decision
                network.advice = "open the run or the weights that pellucid exported it from"
            network.read(nodes)
            net, params = network.graph(outputs)
            return _from_fractions(net, params) if takes_bytes else (net, params)

        net, params_by_node = build_network(NOMINAL_SIDE)
        if has_free_sizes and not _is_same_network((net, params_by_node), build_network(OTHER_SIDE)):
            raise FileFault(
                "computes something else for another height and width, which it leaves free",
                "give an example (--input)",
            )
        shape: Any = shapes[0] if len(shapes) == 1 else tuple(shapes)
        nominal: Any = nominal_shape(shape) if len(shapes) == 1 else shape
        try:
            structure, _ = init_within_bounds(net, nominal)
            if batch is not None and batch > 1:
                init_within_bounds(net, nominal, examples=batch + 1)
        except PellucidError as error:
            raise PellucidError(f"{path}: {error}") from error
    params = nest_like(path, structure, flatten(params_by_node))
    return OnnxNetwork(
        net=net,
        params=params,
        input_shape=shape,
        inputs=tuple(names),
        outputs=tuple(outputs),
        cut=tuple(cut_ops),
        batch=batch,
        in_halves=in_halves,
        takes_bytes=takes_bytes,
        n_quantized=n_quantized,
        proto=model,
    )


def _is_weight(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() > 1


def _takes_bytes(nodes: Iterable[Any], inputs: Sequence[Any]) -> bool:
    """Return whether the inputs are uint8; raises FileFault unless the file converts them before it computes."""
    bytes_values = {value.name for value in inputs if value.type.tensor_type.elem_type == UINT8}
    if not bytes_values:
        return False
    if len(bytes_values) < len(inputs):
        raise FileFault("has inputs of uint8 and of other types", "export it for float32 inputs")
    for node in nodes:
        if bytes_values.isdisjoint(node.input) or node.op_type == "Cast":
            continue
        if node.op_type not in MOVING_OPS:
            raise FileFault(f"computes with uint8 in {quoted(node.name)}", "export it for float32 inputs")
        bytes_values.update(node.output)
    return True


def _from_fractions(net: Graph, params: Params) -> tuple[Graph, Params]:
    """Return a network for images of 0 to 1, as all networks of pellucid take them, from one for 0 to 255."""
    scaled = {name: f"{name}.bytes" for name in net.inputs}
    nodes: dict[str, tuple[Any, ...]] = {scaled[name]: (AffineMap(MAX_BYTE), name) for name in net.inputs}
    for name, (layer, *sources) in net.nodes.items():
        nodes[name] = (layer, *(scaled.get(source, source) for source in sources))
    return Graph(nodes, net.outputs, net.inputs), {**{name: {} for name in scaled.values()}, **params}


def _input_shapes(graph: Any) -> dict[str, tuple[int | None, ...]]:
    """Return the shapes of the inputs (N, ...) by name, with None for free sizes.

    Initializers do not count as inputs. Raises FileFault for an unsupported dtype or an unknown shape.
    """
    initializers = {value.name for value in graph.initializer}
    shapes: dict[str, tuple[int | None, ...]] = {}
    for value in graph.input:
        if value.name in initializers:
            continue
        tensor = value.type.tensor_type
        if tensor.elem_type not in DTYPES:
            raise FileFault(f"has an input {quoted(value.name)} that is not float32", "export it for float32 inputs")
        sizes = tuple(axis.dim_value if axis.dim_value > 0 else None for axis in tensor.shape.dim)
        if not sizes:
            raise FileFault(f"has an input {quoted(value.name)} without an axis of examples, or of unknown shape")
        shapes[value.name] = sizes
    if not shapes:
        raise FileFault("has no input")
    return shapes


def _declared_batch(declared: Mapping[str, tuple[int | None, ...]]) -> int | None:
    """Return the batch size that the inputs declare, None if it is free; raises FileFault if they differ."""
    batches = {shape[0] for shape in declared.values()}
    if len(batches) > 1:
        raise FileFault(f"has inputs for different numbers of examples, {sorted(map(str, batches))}")
    return batches.pop()


def _example_shapes(
    declared: Mapping[str, tuple[int | None, ...]], examples: Sequence[tuple[int, ...]] | None
) -> list[tuple[int | None, ...]]:
    """Return the shapes of the inputs without the batch axis, from `examples` if they are given.

    Raises FileFault if an example does not have the declared shape.
    """
    shapes = [shape[1:] for shape in declared.values()]
    if examples is None:
        return shapes
    if len(examples) != len(shapes):
        raise FileFault(f"has {plural(len(shapes), 'input')}, not {len(examples)}", "give an example of each")
    for (name, shape), example in zip(declared.items(), examples, strict=True):
        has_same_rank = len(shape) == len(example)
        if not has_same_rank or any(a not in (None, b) for a, b in zip(shape[1:], example[1:], strict=True)):
            raise FileFault(
                f"takes inputs {quoted(name)} of shape {shape}, with None for any size, not {example}",
                "give an example of that shape",
            )
    return [tuple(example[1:]) for example in examples]


def _is_same_network(first: tuple[Graph, Params], second: tuple[Graph, Params]) -> bool:
    """Return whether two networks have the same nodes and the same weights and constants."""
    (first_net, first_params), (second_net, second_params) = first, second
    second_tensors = flatten(second_params)
    return first_net == second_net and all(
        torch.equal(tensor, second_tensors[path]) for path, tensor in flatten(first_params).items()
    )
