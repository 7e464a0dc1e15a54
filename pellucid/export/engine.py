"""Networks computed by onnxruntime, from an ONNX file in memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pellucid.export.onnx_file import onnx_bytes
from pellucid.layers.base import Layer, Params
from pellucid.opening.onnx_nodes.proto import session


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
        runtime = session_for(tuple(x.shape[1:]))
        outputs = [torch.from_numpy(y) for y in runtime.run(None, {"input": x.contiguous().numpy()})]
        return tuple(outputs) if len(outputs) > 1 else outputs[0]

    session_for(shape)
    return run
