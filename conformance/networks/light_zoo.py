"""ONNX's light models, whose weights are constants, compared with our networks for the same random weights."""

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, numpy_helper
from torch import Tensor

from conformance.case import Case
from conformance.networks.answer import Answer, PassResult, images, random_weight
from conformance.networks.graph import run
from conformance.networks.network import Network
from pellucid import models
from pellucid.base.errors import PellucidError
from pellucid.verify import pull_back

BATCH = 2


def cases() -> Iterator[Case]:
    """Yield the cases of four networks, on images of a size that the head of the graph accepts.

    In pooling, the graph of GoogLeNet rounds sizes down, while Caffe and our network round up. For images of 222
    pixels the sizes are equal.
    """
    for name, file, subject, original, side in (
        ("AlexNet", "bvlc_alexnet", models.alexnet, True, 224),
        ("GoogLeNet", "inception_v1", models.googlenet, True, 222),
        ("SqueezeNet 1.1", "squeezenet", models.squeezenet1_1, False, 64),
        ("ResNet-50", "resnet50", models.resnet50, False, 224),
    ):
        net = subject(**({"original": True} if original else {}))
        suite, ask = f"onnx light {name}", partial(_ask, file, side)
        yield from Network(suite, onnx.__version__, subject, net, ask, trains=False).cases()


@lru_cache(maxsize=1)  # the cases of one network follow one another
def _ask(file: str, side: int) -> Answer:
    from onnxruntime import InferenceSession

    rng = torch.Generator().manual_seed(0)
    model, weights = _random_model(file, side, rng)
    x = images(BATCH, side, rng)
    input_name = next(graph_input.name for graph_input in model.graph.input)
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    float32_logits = torch.tensor(session.run(None, {input_name: x.float().numpy()})[0]).flatten(1)
    dy = torch.randn(float32_logits.shape, generator=rng, dtype=torch.float64)
    float64_weights = {weight_name: value.double() for weight_name, value in weights.items()}
    logits: list[Tensor] = []

    def reference() -> Tensor:
        logits.append(run(model, {**float64_weights, input_name: x}).flatten(1))
        return logits[-1]

    parameters = {
        weight_name: value
        for weight_name, value in float64_weights.items()
        if not weight_name.endswith(("_rm_0", "_riv_0"))
    }
    dx, *dweights = pull_back(reference, [x, *parameters.values()], dy)
    result = PassResult(logits[0].detach(), dx, dict(zip(parameters, dweights, strict=True)), {})
    return Answer(weights, x, dy, float32_logits, result, None)


def _random_model(file: str, side: int, rng: torch.Generator) -> tuple[ModelProto, dict[str, Tensor]]:
    """Return the graph for images (BATCH, 3, side, side), up to its logits, and its random weights by name."""
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{file}.onnx"
    if not path.is_file():
        raise PellucidError(f"scorecard: the installed onnx has no {path.name}; run: pip install 'pellucid[scorecard]'")
    model = onnx.load(path)
    graph = model.graph
    sizes = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    shapes = {node.output[0]: sizes[node.input[0]] for node in graph.node if node.op_type == "ConstantOfShape"}
    shapes |= {name: array.shape for name, array in sizes.items() if array.dtype.kind == "f"}
    reshape_sizes = {node.input[1]: sizes[node.input[1]] for node in graph.node if node.op_type == "Reshape"}
    nodes = [node for node in graph.node if node.op_type not in ("ConstantOfShape", "Softmax")]
    used_names = {name for node in nodes for name in node.input}
    weights = {
        name: _random_value(name, tuple(map(int, shape)), rng) for name, shape in shapes.items() if name in used_names
    }
    logits = next(node for node in graph.node if node.op_type == "Softmax").input[0]
    image = next(entry.name for entry in graph.input if entry.name not in sizes and entry.name not in shapes)
    float32_type = onnx.TensorProto.FLOAT
    new_graph = onnx.helper.make_graph(
        nodes,
        graph.name,
        [onnx.helper.make_tensor_value_info(image, float32_type, (BATCH, 3, side, side))],
        [onnx.helper.make_tensor_value_info(logits, float32_type, None)],
        [
            *(numpy_helper.from_array(value.numpy(), name) for name, value in weights.items()),
            *(numpy_helper.from_array(_batch_shape(size), name) for name, size in reshape_sizes.items()),
        ],
    )
    return onnx.helper.make_model(new_graph, opset_imports=model.opset_import, ir_version=model.ir_version), weights


def _random_value(name: str, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    fan_in = int(torch.Size(shape[1:]).numel())
    return random_weight(shape, name.removesuffix("_0"), fan_in, rng)


def _batch_shape(size: Any) -> Any:
    """Return the shape of a Reshape for one image as that for a batch: 0 means that the axis keeps its size."""
    return np.concatenate([np.zeros_like(size[:1]), size[1:]]) if size[0] == 1 else size
