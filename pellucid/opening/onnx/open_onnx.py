"""Opening of an ONNX file as a model, and comparison of its outputs with onnxruntime's."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.text import note, plural
from pellucid.data.dataset import float_images
from pellucid.layers.base import Mode
from pellucid.nested import flatten, map_tree
from pellucid.network.inputs import FreeShape, free_output_shape, nominal_shape
from pellucid.opening.model import OpenedModel
from pellucid.opening.onnx.file import OnnxNetwork, read_onnx
from pellucid.opening.onnx.runtime import runtime_outputs
from pellucid.opening.onnx_nodes.proto import PRODUCER
from pellucid.opening.outputs import check_equal, loss_for
from pellucid.opening.programfile import DAMAGE_ERRORS
from pellucid.run.described import check_size_within_bounds, check_strings, check_type
from pellucid.weights.fault import naming_file

FREE_SIDE = 64  # pixels for a free height or width in the comparison
COARSE_SIDE = 4  # a smooth image is interpolated between so many random values in a row


def open_onnx(path: Path, examples: tuple[Tensor, ...] | None, options: dict[str, Any]) -> OpenedModel:
    """Return the model of an ONNX file; see pellucid.open.

    examples: the inputs for the comparison with onnxruntime, whose shapes set the sizes that the file leaves free; None
    for random inputs. Raises PellucidError if the outputs differ.
    """
    with naming_file(path, "ONNX model", DAMAGE_ERRORS):
        network = read_onnx(path, None if examples is None else [tuple(x.shape) for x in examples])
        shapes = (network.input_shape,) if len(network.inputs) == 1 else network.input_shape
        xs = _random_inputs(network, shapes) if examples is None else list(map(_as_floats, examples))
        with torch.no_grad():
            y, _ = network.net.forward(network.params, tuple(xs) if len(xs) > 1 else xs[0], Mode(keep=False))
        outputs = y if isinstance(y, tuple) else (y,)
        _check_outputs(path, network, xs, outputs)
        defaults = _exported_options(network, y)
    if "loss" not in options:
        defaults["loss"] = loss_for(network.net, y)
    if network.n_quantized:
        note(
            f"open: {path} is quantized; {plural(network.n_quantized, 'quantized tensor')} are opened as floats, which "
            "are clipped to the same range and not rounded"
        )
    model = OpenedModel(network.net, **{**defaults, **options})
    params = map_tree(torch.clone, network.params)
    output_shapes = tuple(tuple(output.shape[1:]) for output in outputs)
    model._set_params(
        params,
        network.input_shape,
        _output_shape(network, params, output_shapes[0] if len(output_shapes) == 1 else output_shapes),
    )
    model._keep_state(flatten(params), flatten(params))
    check_size_within_bounds(model.objective, model.input_shape, model.preprocess)
    model.cut = network.cut
    model.output_names = tuple(network.outputs)
    if network.cut:
        note(
            f"open: {path} is opened up to {network.cut[0]}; it and {plural(len(network.cut) - 1, 'node')} after it "
            f"are left out, and the outputs are {', '.join(network.outputs)}"
        )
    return model


def _exported_options(network: OnnxNetwork, y: Any) -> dict[str, Any]:
    """Return the preprocessing and the classes of a file that Pellucid exported; {} for other files.

    y: the outputs, which are scores of the classes if there are as many. The mean and std are nodes of the file. A file
    for uint8 pictures (N, H, W, C) has no preprocessing outside of it.
    """
    metadata = {entry.key: entry.value for entry in network.proto.metadata_props}
    if network.proto.producer_name != PRODUCER or network.takes_bytes:
        return {}
    preprocess = check_type(json.loads(metadata.get("preprocess", "{}")), dict, "preprocess must be an object")
    preprocess = {name: value for name, value in preprocess.items() if name not in ("mean", "std")}
    classes = check_strings(json.loads(metadata.get("classes", "[]")))
    n_outputs = y.shape[1] if isinstance(y, Tensor) and y.dim() > 1 else 0
    has_classes = classes and (n_outputs == len(classes) or (n_outputs, len(classes)) == (1, 2))
    return {"preprocess": preprocess} | ({"classes": classes} if has_classes else {})


def _output_shape(network: OnnxNetwork, params: Any, example_output_shape: Any) -> Any:
    shape: FreeShape = network.input_shape
    if len(network.inputs) > 1 or None not in shape:
        return example_output_shape
    with torch.device("meta"):
        _, nominal_output = network.net.init(nominal_shape(shape), torch.Generator())
    return free_output_shape(shape, network.net.init, params, nominal_output)


def _random_inputs(network: OnnxNetwork, shapes: Any) -> list[Tensor]:
    """Return random inputs, one more than the file's batch size: noise, and for images, every other one smooth."""
    rng = torch.Generator().manual_seed(0)
    n_examples = (network.batch or 1) + 1
    inputs = [torch.rand(n_examples, *nominal_shape(shape, FREE_SIDE), generator=rng) for shape in shapes]
    for x in inputs:
        if x.dim() == 4:
            coarse = torch.rand(n_examples, x.shape[1], COARSE_SIDE, COARSE_SIDE, generator=rng)
            x[::2] = F.interpolate(coarse, x.shape[2:], mode="bilinear")[::2]
    # The values of pixels, so that a file for uint8 computes with the same numbers.
    return [(x * 255).round() / 255 for x in inputs]


def _as_floats(x: Tensor) -> Tensor:
    """Return an example as float32, uint8 as 0 to 1."""
    return float_images(x) if x.dtype is torch.uint8 else x.float()


def _check_outputs(path: Path, network: OnnxNetwork, xs: list[Tensor], outputs: tuple[Tensor, ...]) -> None:
    """Raise PellucidError unless the outputs equal onnxruntime's, up to rounding errors."""
    if importlib.util.find_spec("onnxruntime") is None:
        note(f"open: onnxruntime is missing, so the outputs of {path} were not compared with it")
        return
    hint = "; report it as a fault of pellucid"
    check_equal(str(path), outputs, runtime_outputs(path, network, xs), "onnxruntime's", hint)
