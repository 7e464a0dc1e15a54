"""Networks computed by onnxruntime, from an ONNX file in memory, in float32 or in int8."""

from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.export.onnx_file import onnx_bytes
from pellucid.layers.base import Layer, Params
from pellucid.opening.onnx_nodes.proto import import_optional, session, session_options

# Operators that compute with 8-bit integers, and those that pass such integers on; all others compute in float32.
INT8_OPERATORS = ("Conv", "Gemm", "MatMul", "Add", "Relu", "Clip", "MaxPool", "Pad", "Reshape", "Flatten", "Transpose")
FLOAT_OUTPUT_OPERATORS = ("Gemm", "MatMul")  # their 32-bit sums, such as logits, are not rounded to 8 bits


def onnxruntime_engine(net: Layer, params: Params, shape: tuple[int, ...]) -> Callable[[Tensor], Any]:
    """Return a function from standardised inputs (N, ...) to the network's outputs, a tensor or a tuple of them.

    shape: shape of the inputs without the batch axis. For inputs of another shape, which a fully convolutional network
    accepts, another ONNX file is made. onnxruntime uses as many threads as PyTorch uses when the file is made. Raises
    PellucidError for the same reasons as `to_onnx` and if onnxruntime is not installed, and ParityError if the outputs
    for random inputs differ from the network's.
    """
    sessions: dict[tuple[int, ...], Any] = {}

    def session_for(input_shape: tuple[int, ...]) -> Any:
        if input_shape not in sessions:
            data, _ = onnx_bytes(net, params, input_shape)
            sessions[input_shape] = session(data)
        return sessions[input_shape]

    def run(x: Tensor) -> Any:
        return _outputs(session_for(tuple(x.shape[1:])), x)

    session_for(shape)
    return run


def int8_engine(net: Layer, params: Params, batches: Iterable[Tensor]) -> Callable[[Tensor], Any]:
    """Return a function from standardised inputs (N, ...) to the outputs of the network, computed in int8.

    onnxruntime quantizes the network: each filter of a weight has its scale, and each tensor between the operators has
    256 values, from the smallest to the largest that the network computes for the batches (N, ...). The function takes
    inputs of their shape. Raises the same errors as `onnxruntime_engine`, and PellucidError for a network without
    convolutions, for values that are not finite, and for a network that onnxruntime cannot compute in int8.
    Source: Jacob et al. 2018, sections 2.1 to 2.4.
    """
    calibration = [batch.contiguous() for batch in batches]
    shape = tuple(calibration[0].shape[1:])
    data, _ = onnx_bytes(net, params, shape)
    try:
        with TemporaryDirectory(prefix="pellucid-int8-") as folder:
            runtime = session(_quantized(data, calibration, Path(folder)))
        _outputs(runtime, calibration[0])
    except PellucidError:
        raise
    except Exception as error:  # the exceptions of onnxruntime have no common class
        reason = " ".join(str(error).split())[:300]
        raise PellucidError(
            f"precision='int8': onnxruntime cannot compute this network in int8 ({reason}); check the calibration "
            "images and the weights, or use precision=None"
        ) from error

    def run(x: Tensor) -> Any:
        if tuple(x.shape[1:]) != shape:
            raise PellucidError(
                f"precision='int8': inputs of shape {tuple(x.shape[1:])}, but calibration images of shape {shape}; "
                "give calibration images of the shape to predict"
            )
        return _outputs(runtime, x)

    return run


def _quantized(data: bytes, batches: list[Tensor], folder: Path) -> bytes:
    """Return the bytes of the quantized form of an ONNX file; folder: for temporary files."""
    quantization = import_optional("onnxruntime.quantization")
    inputs = [{"input": batch.numpy()} for batch in batches]
    fused = _fused(data, inputs, folder / "fused.onnx")
    remaining = iter(inputs)

    class Calibration(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, Any] | None:
            return next(remaining, None)

    quantized_file = folder / "quantized.onnx"
    # Ranges of 99.999 % of the values took four times as long, for a mean IoU of 61.86 instead of 61.83 % (camvid).
    quantization.quantize_static(
        fused,
        quantized_file,
        Calibration(),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=list(INT8_OPERATORS),
        nodes_to_exclude=_grey_convolutions(fused),
        extra_options={"OpTypesToExcludeOutputQuantization": list(FLOAT_OUTPUT_OPERATORS)},
    )
    return quantized_file.read_bytes()


def _fused(data: bytes, inputs: list[dict[str, Any]], file: Path) -> Any:
    """Return the model of an ONNX file with batch normalization in the weights of convolutions, also written to `file`.

    Raises PellucidError for a network without convolutions, and if its outputs for `inputs` are not finite.
    """
    onnx = import_optional("onnx")
    runtime = import_optional("onnxruntime")
    options = session_options()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(file)
    float_session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    fused = onnx.load(file)
    if not any(node.op_type == "Conv" for node in fused.graph.node):
        raise PellucidError("precision='int8': the network contains no Conv2d to quantize; use precision=None")
    for x in inputs:
        if not all(np.isfinite(y).all() for y in float_session.run(None, x)):
            raise PellucidError(
                "calibration: outputs are NaN or infinite for these images; check the images and the weights"
            )
    _copy_read_outputs(onnx, fused.graph)
    # Without this property, onnxruntime prints the advice to fuse the file first.
    onnx.helper.set_model_props(fused, {"onnx.quant.pre_process": "onnxruntime.quant"})
    return fused


def _copy_read_outputs(onnx: Any, graph: Any) -> None:
    """Replace each output of a graph that its nodes also read with a copy.

    onnxruntime would quantize such an output with the range of a ReLU that reads it, and so lose its negative values.
    """
    read_names = {name for node in graph.node for name in node.input}
    for output in graph.output:
        if output.name in read_names:
            copy = f"{output.name}/copy"
            graph.node.append(onnx.helper.make_node("Identity", [output.name], [copy], copy))
            output.name = copy


def _grey_convolutions(model: Any) -> list[str]:
    """Return the names of convolutions of images with one channel, which onnxruntime computes faster in float32."""
    # their sums have too few terms: LeNet takes 1.3 ms instead of 0.8 ms for 32 images
    weights = {initializer.name: initializer for initializer in model.graph.initializer}
    names: list[str] = []
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] in weights:
            groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
            if weights[node.input[1]].dims[1] * groups == 1:
                names.append(node.name)
    return names


def _outputs(runtime: Any, x: Tensor) -> Any:
    outputs = [torch.from_numpy(y) for y in runtime.run(None, {"input": x.contiguous().numpy()})]
    return tuple(outputs) if len(outputs) > 1 else outputs[0]
