"""Comparison of an opened model's outputs with the network's: for the example, and for images of other sizes."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.text import note, plural
from pellucid.combine.base import shape_of
from pellucid.combine.graph import Graph
from pellucid.layers import LogSoftmax, Sigmoid, Softmax
from pellucid.layers.base import Mode, Params
from pellucid.network.ending import last_layers, only_moves
from pellucid.network.inputs import common_sizes
from pellucid.opening.exported import ExportedNetwork, evaluating
from pellucid.verify.modules import output_tensors, recorded_functions

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}  # difference of outputs, relative to the largest value
OTHER_TOLERANCE = 1e-2  # the same for all other dtypes, such as 16-bit floats
# The scale of smaller outputs, such as improbable probabilities: onnxruntime's sigmoid of -16 is off by its own value.
MIN_SCALE = 1e-2
CAST_OPS = ("to", "_to_copy", "type_as")
NARROWER_DTYPES = {
    torch.float64: (torch.float32, torch.float16, torch.bfloat16),
    torch.float32: (torch.float16, torch.bfloat16),
}  # dtypes with less precision, by dtype
LARGER_SIZES = ((33, 67), (32, 64))  # additional rows and columns of the resized images; odd numbers first
SMALLER_SIZES = ((-97, -131), (-96, -128))  # the same for large examples, since a smaller image takes less time
LARGE_SIDE = 224  # minimal height and width of large examples


def check_outputs(
    network: nn.Module, inputs: tuple[Tensor, ...], y: Any, hint: str = ""
) -> tuple[set[str], tuple[str, ...]]:
    """Raise PellucidError unless y equals the network's outputs, up to rounding errors; hint: the end of the message.

    Returns the names of the functions with a custom backward pass that the network has called, and the names of the
    outputs if the network returns a dict of tensors, () if one of its values is something else, such as a list.
    """
    with recorded_functions() as functions:
        outputs = _network_outputs(network, inputs)
    expected = [output.detach() for output in output_tensors(outputs)]
    check_equal("open", y if isinstance(y, tuple) else (y,), expected, "the network's", hint)
    outputs_by_name = cast("Mapping[Any, Any]", outputs) if isinstance(outputs, Mapping) else {}
    names = [str(name) for name, value in outputs_by_name.items() if value is not None]
    has_only_tensors = all(value is None or isinstance(value, Tensor) for value in outputs_by_name.values())
    return functions, tuple(names) if has_only_tensors else ()


def _network_outputs(network: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """Return the outputs of a PyTorch network in evaluation mode, as it returns them."""
    with evaluating(network), torch.no_grad():
        return network(*(x.clone() for x in inputs))  # the network may change them


def outputs_if_accepted(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor] | None:
    """Return the output tensors of a PyTorch network, None if it raises an error for inputs of these shapes."""
    try:
        with warnings.catch_warnings(action="ignore"):  # a warning that the user turns into an error is no refusal
            return [output.detach() for output in output_tensors(_network_outputs(network, inputs))]
    except Exception:  # the module's own code may raise any error
        return None


def difference_hint(exported: ExportedNetwork, dtype: torch.dtype) -> str:
    """Return why outputs may differ, as text: the network rounds to a narrower dtype than `dtype`, or is random."""
    for call in exported.calls:
        if call.op in CAST_OPS and call.dtype in NARROWER_DTYPES.get(dtype, ()):
            narrow_dtype = str(call.dtype).removeprefix("torch.")
            return f"; {call.module or 'the network'} computes in {narrow_dtype}: open the network in {narrow_dtype}"
    return "; does the network compute something else at each call, or for another number of examples?"


def outputs_of(net: Graph, params: Params, x: Any) -> Any:
    """Return the outputs of the layers; raises PellucidError if they run only for the exported number of examples."""
    try:
        with torch.no_grad():
            return net.forward(params, x, Mode(keep=False))[0]
    except (RuntimeError, IndexError) as error:
        raise PellucidError(
            f"open: the network computes something else for another number of examples: {' '.join(str(error).split())}"
        ) from error


def batch_rows(n_examples: int, batch_size: int) -> Tensor:
    """Return the indices of examples in batches (n, batch_size); the first examples complete the last batch."""
    return torch.arange(-(-n_examples // batch_size) * batch_size).view(-1, batch_size) % n_examples


def loss_for(net: Graph, y: Any) -> str:
    """Return the default loss of an opened network with outputs y: for scores of classes, for numbers or probabilities.

    Scores (N, C, ...) of several classes have softmax cross-entropy, their logarithms of probabilities the negative
    log-likelihood, and probabilities (N, K) by sigmoid, of several labels, their cross-entropy. Everything else has
    squared error: other probabilities, one number for each example or pixel, and several outputs. A note says so if
    that is no plain end of a classifier.
    """
    if not isinstance(y, Tensor):
        return "quadratic"
    last_layer = next(iter(last_layers(net, only_moves).values()), None)
    if isinstance(last_layer, LogSoftmax) and last_layer.axis == 1 and net.nodes[net.outputs[0]][0] is last_layer:
        return "nll"
    if isinstance(last_layer, Sigmoid) and y.dim() == 2 and y.shape[1] > 1:
        return "probability_cross_entropy"
    if isinstance(last_layer, Softmax | LogSoftmax | Sigmoid):
        note(
            f"open: the network ends in {type(last_layer).__name__}, so the default loss is that of numbers; open it "
            "without that layer to train classes by cross-entropy"
        )
        return "quadratic"
    if y.dim() < 2 or y.shape[1] == 1:
        unit = "a pixel" if y.dim() > 2 else "an example"
        note(f'open: one number {unit}, so the default loss is "quadratic"; a logit has "binary_cross_entropy"')
        return "quadratic"
    return "softmax_cross_entropy"


def check_equal(label: str, outputs: Sequence[Tensor], expected: Sequence[Tensor], owner: str, hint: str = "") -> None:
    """Raise PellucidError, "LABEL: output 0 differs from OWNER by ...", unless outputs agree up to rounding errors."""
    if len(outputs) != len(expected):
        raise PellucidError(f"{label}: {plural(len(outputs), 'output')} instead of {owner} {len(expected)}{hint}")
    for index, (output, reference) in enumerate(zip(outputs, expected, strict=True)):
        if output.shape != reference.shape:
            shapes = f"{tuple(output.shape)} instead of {owner} {tuple(reference.shape)}"
            raise PellucidError(f"{label}: output {index} has the shape {shapes}{hint}")
        if not reference.numel():
            continue
        difference = float((output.double() - reference.double()).abs().max())
        limit = TOLERANCE.get(reference.dtype, OTHER_TOLERANCE) * max(float(reference.double().abs().max()), MIN_SCALE)
        if not difference <= limit:
            raise PellucidError(
                f"{label}: output {index} differs from {owner} by {difference:.2g}, above {limit:.2g}{hint}"
            )


def free_shapes(network: nn.Module, net: Graph, params: Params, x: Any, y: Any) -> tuple[Any, Any]:
    """Return the shapes of inputs x and outputs y without the batch axis, with None for a free height and width.

    They are free if the network accepts images of another size and the layers compute its outputs for them. The other
    size is an odd number of pixels larger or smaller, or an even number if the network raises an error for the odd one.
    """
    shape, output_shape = shape_of(x), shape_of(y)
    if not isinstance(x, Tensor) or x.dim() != 4:
        return shape, output_shape
    height, width = x.shape[2:]
    for added_rows, added_columns in SMALLER_SIZES if min(height, width) >= LARGE_SIDE else LARGER_SIZES:
        resized = _resized_output_shape(
            network, net, params, F.interpolate(x[:1], (height + added_rows, width + added_columns))
        )
        if resized is not None:
            return (
                (shape, output_shape)
                if resized == ()
                else ((shape[0], None, None), common_sizes(output_shape, resized))
            )
    return shape, output_shape


def _resized_output_shape(network: nn.Module, net: Graph, params: Params, x: Tensor) -> Any:
    """Return the shape of the outputs, () if they differ from the network's, None if the network raises an error."""
    expected = outputs_if_accepted(network, (x,))
    if expected is None:
        return None
    try:
        with torch.no_grad():
            y, _ = net.forward(params, x, Mode(keep=False))
        check_equal("open", y if isinstance(y, tuple) else (y,), expected, "the network's")
    except (PellucidError, RuntimeError, IndexError, ValueError):  # raised by layers that need the example's size
        return ()
    return shape_of(y)
