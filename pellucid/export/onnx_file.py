"""Networks as ONNX files."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically
from pellucid.base.limits import MAX_ONNX_BYTES
from pellucid.data import FeatureStats
from pellucid.export.metadata import shared_preprocess, takes_any_size, training_size
from pellucid.export.parity import Parity, compare, outputs, random_inputs, stored_tensor
from pellucid.export.target import ExportTarget
from pellucid.layers.base import Layer, Params
from pellucid.model import Model
from pellucid.nested import flatten, map_tree
from pellucid.network.traced import GraphTrace, GraphValue, TracedLayer, trace
from pellucid.objective import Supervised
from pellucid.opening.onnx import READERS
from pellucid.opening.onnx_nodes import Node, custom_layers, unwritable, write
from pellucid.opening.onnx_nodes.proto import IR_VERSION, OPSET, PRODUCER, import_optional, node_proto, run_file
from pellucid.task import task_of

BATCH_AXIS = "N"
MAX_NODE_BYTES = 64 << 20  # of a file besides its weights


def to_onnx(
    model: Model, path: str | os.PathLike[str], size: tuple[int, int] | None = None, whole: bool = False
) -> Parity:
    """Write a model as an ONNX file, and return the difference of onnxruntime's outputs from the model's.

    The file takes "input", float32 images from 0 to 1 (N, *input_shape) for any N, and returns "output", the network's
    output before any softmax that the loss contains; it includes the standardisation by the model's mean and std.
    size: (H, W) of the images that the file accepts, for fully convolutional networks; by default the size in training.
    Tensors are named by the paths of the parameters. The metadata contains the classes, the preprocessing, and how
    `predict` follows from the outputs ("outputs", see `output_meaning`). For models of several networks, see
    `Task.onnx`. whole: whether the file accepts "images", uint8 pictures (N, H, W, C), and returns "predictions", the
    values of `predict`, or detections; the page NAME.html in the same folder then describes it. No path of this machine
    is written.
    Raises PellucidError for a model without weights, and for layers and models that ONNX cannot express. Raises
    ParityError and writes no file if the outputs differ from the model's.
    """
    if not model.built:
        raise PellucidError("the model has no weights yet; give it input_shape, or fit it first")
    metadata = {"preprocess": json.dumps(shared_preprocess(model))}
    if model.classes is not None:
        metadata["classes"] = json.dumps(list(model.classes))
    if size is None and takes_any_size(model):
        size = training_size(model)
    is_supervised = isinstance(model.objective, Supervised)
    data_and_parity = None if is_supervised else task_of(model).onnx(model, size, metadata)
    shape = model.nominal_shape
    if data_and_parity is None:
        shape = shape if size is None else _resized_shape(model, size)
        metadata["outputs"] = json.dumps(IDENTITY.text if whole else output_meaning(model, shape))
        data_and_parity = onnx_bytes(model.net, model.params, shape, model.stats, metadata)
    data, parity = data_and_parity
    if whole:
        from pellucid.export.onnx_whole import page, with_pictures  # the page's templates take time to import

        operator = _prediction_operator(model, shape) if is_supervised else None
        data, parity = with_pictures(data, model, operator)
        write_atomically(Path(path).with_suffix(".html"), page(path, data, model, parity).html().encode("utf-8"))
    write_atomically(path, data)
    return parity


TARGET = ExportTarget(
    "onnx",
    "ONNX",
    ".onnx",
    to_onnx,
    whole=ExportTarget(
        "onnx",
        "ONNX",
        ".onnx",
        partial(to_onnx, whole=True),
        files=lambda path: (path, path.with_suffix(".html")),
    ),
)


class OutputConversion(NamedTuple):
    """How the values of `predict` follow from an output: as a text, as a function, and as an ONNX operator."""

    text: str
    convert: Callable[[Tensor], Tensor]
    op_type: str
    attributes: dict[str, int]


IDENTITY = OutputConversion("the values of predict", lambda y: y, "Identity", {})
CONVERSIONS = (
    IDENTITY,
    OutputConversion(
        "logits; softmax over axis 1 gives the probabilities of predict",
        lambda y: y.softmax(1),
        "Softmax",
        {"axis": 1},
    ),
    OutputConversion("logits; sigmoid gives the probabilities of predict", lambda y: y.sigmoid(), "Sigmoid", {}),
    OutputConversion("log-probabilities; exp gives the probabilities of predict", lambda y: y.exp(), "Exp", {}),
)


def output_meaning(model: Model, shape: tuple[int, ...]) -> str:
    """Return how the values of `predict` follow from the network's outputs, as a text for users of a file.

    shape: the shape of an input, without the batch axis. For a network with several outputs, the text names the output
    that `predict` uses.
    """
    found = _find_conversion(model, shape)
    if found is None:
        return f"the network's values; {type(model.loss).__name__}.predict converts them to the values of predict"
    number, conversion, has_several_outputs = found
    return f"output{number}: {conversion.text}, which uses no other output" if has_several_outputs else conversion.text


def _find_conversion(model: Model, shape: tuple[int, ...]) -> tuple[int, OutputConversion, bool] | None:
    """Return the number of the output that `predict` uses, its conversion, and whether the network has others.

    The number is counted from 1. The conversion is found by applying the loss's `predict` to random outputs. Returns
    None if no conversion in CONVERSIONS returns the same values.
    """
    rng = torch.Generator().manual_seed(0)
    shapes = model.outputs_for(shape)
    has_several_outputs = bool(shapes) and isinstance(shapes[0], tuple)
    ys = tuple(
        torch.randn(2, *output_shape, generator=rng) for output_shape in (shapes if has_several_outputs else (shapes,))
    )
    predictions = model.loss.predict(ys if has_several_outputs else ys[0])
    for number, y in enumerate(ys, start=1):
        for conversion in CONVERSIONS:
            if predictions.shape == y.shape and torch.allclose(predictions, conversion.convert(y)):
                return number, conversion, has_several_outputs
    return None


def _prediction_operator(model: Model, shape: tuple[int, ...]) -> tuple[int, str, dict[str, int]]:
    """Return the index of the output that `predict` uses, and the ONNX operator that converts it to predictions.

    Raises PellucidError if no operator in CONVERSIONS does.
    """
    found = _find_conversion(model, shape)
    if found is None:
        raise PellucidError(
            f"{type(model.loss).__name__}.predict cannot be written as ONNX; leave out whole for the network's outputs"
        )
    number, conversion, _ = found
    return number - 1, conversion.op_type, conversion.attributes


def _resized_shape(model: Model, size: tuple[int, int]) -> tuple[int, ...]:
    """Return the shape of images of another size; raises PellucidError if it needs weights of other shapes."""
    if len(model.input_shape) != 3:
        raise PellucidError(f"size: the model takes inputs of shape {model.input_shape}, not images; leave size out")
    shape = (model.nominal_shape[0], *size)
    try:
        with torch.device("meta"):  # shapes only
            expected, _ = model.net.init(shape, torch.Generator())
    except RuntimeError as error:  # raised by an operator of an opened network
        raise PellucidError(f"size: the network does not take images of {size[0]}x{size[1]}; leave size out") from error
    params = flatten(model.params)
    wrong_path = next((path for path, leaf in flatten(expected).items() if leaf.shape != params[path].shape), None)
    if wrong_path is not None:
        raise PellucidError(
            f"size: {wrong_path} only fits images of {model.input_shape[1]}x{model.input_shape[2]}; leave size out"
        )
    return shape


def onnx_bytes(
    net: Layer,
    params: Params,
    shape: Any,
    stats: FeatureStats | None = None,
    metadata: Mapping[str, str] | None = None,
) -> tuple[bytes, Parity]:
    """Return a network as the bytes of an ONNX file, and the difference of onnxruntime's outputs from the network's.

    shape: shape of one input without the batch axis, or a tuple of shapes. stats: mean and standard deviation of the
    channels, for images only. Raises the same errors as `to_onnx`.
    """
    onnx = import_optional("onnx")
    params = map_tree(stored_tensor, params)
    traced = trace(net, params, shape)
    custom_types = custom_layers(traced.steps)
    xs = random_inputs(traced)
    try:
        data = _proto(onnx, traced, stats, metadata or {})
        file_outputs = run_file(data, {value.name: x for value, x in zip(traced.inputs, xs, strict=True)})
    except Exception as error:
        if not custom_types or isinstance(error, PellucidError):
            raise
        reason = " ".join(str(error).split())[:300]  # onnx and onnxruntime have no common exception class
        raise PellucidError(f"the method onnx of {' or '.join(custom_types)} writes invalid nodes: {reason}") from error
    fault = f"see the method onnx of {', '.join(custom_types)}" if custom_types else "this is a fault in pellucid"
    return data, compare(outputs(net, params, xs, stats), file_outputs).require("the ONNX file", fault)


Axes = Sequence[str | int | None]  # the name or size of each axis, None for any size


def _proto(onnx: Any, traced: GraphTrace, stats: FeatureStats | None, metadata: Mapping[str, str]) -> bytes:
    types = onnx.TensorProto
    inputs = [
        (value.name, types.INT64 if value.name in traced.switches else types.FLOAT, (BATCH_AXIS, *value.shape))
        for value in traced.inputs
    ]
    outputs = [
        (_output_name(number, traced), types.FLOAT, _axis_sizes(value))
        for number, value in enumerate(traced.outputs, start=1)
    ]
    return graph_bytes(onnx, *network_nodes(traced, stats), inputs, outputs, metadata)


def _axis_sizes(value: GraphValue) -> tuple[str | int | None, ...]:
    """Return the axis sizes of an output, with BATCH_AXIS for a first axis of any size."""
    return tuple(BATCH_AXIS if size is None and not axis else size for axis, size in enumerate(value.sizes))


def graph_bytes(
    onnx: Any,
    nodes: Sequence[Node],
    constants: Mapping[str, Tensor],
    inputs: Sequence[tuple[str, int, Axes]],
    outputs: Sequence[tuple[str, int, Axes]],
    metadata: Mapping[str, str],
) -> bytes:
    """Return the bytes of an ONNX file, checked by the onnx package; inputs, outputs: (name, type, shape)."""
    from pellucid.base.version import __version__

    size = sum(tensor.numel() * tensor.element_size() for tensor in constants.values())
    if size > MAX_ONNX_BYTES - MAX_NODE_BYTES:
        raise PellucidError(f"the weights take {size} bytes, more than the 2 GB limit of ONNX files")
    graph = onnx.helper.make_graph(
        [node_proto(onnx, node) for node in nodes],
        "network",
        [onnx.helper.make_tensor_value_info(*value) for value in inputs],
        [onnx.helper.make_tensor_value_info(*value) for value in outputs],
        [onnx.numpy_helper.from_array(tensor.numpy(), name) for name, tensor in constants.items()],
    )
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name=PRODUCER,
        producer_version=__version__,
    )
    onnx.helper.set_model_props(model, dict(metadata))
    data = model.SerializeToString(deterministic=True)
    onnx.checker.check_model(data, full_check=True)
    return data


def network_nodes(traced: GraphTrace, stats: FeatureStats | None) -> tuple[list[Node], dict[str, Tensor]]:
    """Return all nodes, with the file's names of inputs and outputs, and the constants by name.

    Raises PellucidError for layers that ONNX cannot express.
    """
    missing = unwritable(traced.steps)
    if missing:
        raise PellucidError(
            f"no ONNX operators for the layers {', '.join(missing)}; use pellucid's own, or give them a method "
            "onnx(self, nodes): see pellucid.Layer.onnx"
        )
    nodes: list[Node] = []
    constants: dict[str, Tensor] = {}
    if stats is not None:
        nodes += [
            Node("Sub", "preprocess/centred", ("input", "preprocess/mean"), ("preprocess/centred",)),
            Node("Div", "preprocess", ("preprocess/centred", "preprocess/std"), ("preprocess",)),
        ]
        constants |= {"preprocess/mean": stats.mean, "preprocess/std": stats.std}
    names, copies = _output_names(traced)
    file_names = names if stats is None else {"input": "preprocess", **names}
    for step in traced.steps:
        layer_nodes = write(_with_new_names(step, file_names))
        nodes += layer_nodes.with_layer_metadata(READERS)
        constants |= layer_nodes.constants
    nodes += [
        Node("Identity", output_name, (file_names.get(source, source),), (output_name,))
        for output_name, source in copies.items()
    ]
    return nodes, constants


def _with_new_names(step: TracedLayer, names: Mapping[str, str]) -> TracedLayer:
    """Return the step with its inputs and output renamed."""
    values = [replace(value, name=names.get(value.name, value.name)) for value in (*step.inputs, step.output)]
    return replace(step, inputs=tuple(values[:-1]), output=values[-1])


def _output_names(traced: GraphTrace) -> tuple[dict[str, str], dict[str, str]]:
    """Return the outputs' names by the names of their values, and the sources of copies by the outputs' names.

    An output that is also an input or a parameter is written as a copy, and so is each additional output of a value.
    """
    names: dict[str, str] = {}
    copies: dict[str, str] = {}
    inputs = {value.name for value in traced.inputs} | {step.name for step in traced.steps if not step.inputs}
    for number, value in enumerate(traced.outputs, start=1):
        output_name = _output_name(number, traced)
        if value.name in names or value.name in inputs:
            copies[output_name] = value.name
        else:
            names[value.name] = output_name
    return names, copies


def _output_name(number: int, traced: GraphTrace) -> str:
    return "output" if len(traced.outputs) == 1 else f"output{number}"
