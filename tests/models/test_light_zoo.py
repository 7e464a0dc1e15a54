"""The networks equal independent graphs: those of ONNX's light model zoo, which come with the onnx package.

Their weights are meaningless constants, but the graphs define the windows, strides, groups and shapes of each
network, and the order in which its branches are concatenated. ZFNet is not compared, since its graph has other
widths.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.layers import (
    Add,
    BatchNorm,
    Concat,
    Conv2d,
    Dense,
    Layer,
    LocalResponseNorm,
    MaxPool2d,
    Mode,
)
from pellucid.layers.base import pair
from pellucid.models import MODELS
from pellucid.nested import flatten
from pellucid.sweep import forward
from tests.models.zoo import init_on_meta

onnx = pytest.importorskip("onnx")
# After pooling, the graph of GoogLeNet rounds sizes down, Caffe rounds up: for 222 pixels, both are the same.
CASES = [
    ("bvlc_alexnet", "alexnet", {"original": True}, 224),
    ("vgg19", "vgg19", {}, 224),
    ("inception_v1", "googlenet", {"original": True}, 222),
    ("resnet50", "resnet50", {}, 224),
    ("densenet121", "densenet121", {}, 224),
    ("squeezenet", "squeezenet1_1", {}, 224),
]


def describe_layer(layer: Layer, weights: dict[str, Any], x: Any, y: Any) -> tuple[Any, ...] | None:
    """Return type, attributes and shapes of a layer as in a graph; None for layers that are not compared."""
    out = tuple(y.shape[1:])
    description: tuple[Any, ...] | None = None
    match layer:
        case Conv2d():
            padding = layer.padding if isinstance(layer.padding, str) else pair(layer.padding)
            description = "Conv", tuple(weights["weight"].shape), pair(layer.stride), padding, layer.groups, out
        case Dense():
            description = "Gemm", tuple(weights["weight"].shape)
        case MaxPool2d():
            description = "MaxPool", pair(layer.kernel), pair(layer.step), out
        case LocalResponseNorm():
            description = "LRN", layer.size, layer.alpha, layer.beta, layer.k, out
        case BatchNorm():
            description = "BatchNormalization", layer.epsilon, out
        case Add():
            description = "Sum", out
        case Concat():
            description = "Concat", tuple(input_.shape[1] for input_ in x), out
        case _:
            pass
    return description


def layer_counts(net: Layer, side: int) -> Counter[Any]:
    params, _ = init_on_meta(net, (3, side, side))
    leaves = flatten(params)
    counts: Counter[Any] = Counter()

    def count_layer(path: str, layer: Layer, x: Any, y: Any, cache: Any) -> None:
        weights = {name.removeprefix(f"{path}."): leaf for name, leaf in leaves.items() if name.startswith(f"{path}.")}
        description = describe_layer(layer, weights, x, y)
        if description is not None:
            counts[description] += 1

    forward(net, params, torch.empty(1, 3, side, side, device="meta"), Mode(keep=False), count_layer)
    return counts


def node_counts(name: str, side: int) -> Counter[Any]:
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"
    if not path.is_file():
        pytest.skip(f"this onnx package has no {path.name}")
    model = onnx.load(path)
    graph = model.graph
    sizes = {tensor_info.name: onnx.numpy_helper.to_array(tensor_info) for tensor_info in graph.initializer}
    shapes: dict[str, tuple[int, ...]] = {}
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            shapes[node.output[0]] = tuple(sizes[node.input[0]].tolist())
    for tensor_info in graph.input:
        dims = tensor_info.type.tensor_type.shape.dim
        if len(dims) == 4 and dims[1].dim_value == 3 and "data" in tensor_info.name:
            dims[2].dim_value = dims[3].dim_value = side
    del graph.value_info[:]
    for tensor_info in onnx.shape_inference.infer_shapes(model).graph.value_info:
        shapes.setdefault(tensor_info.name, tuple(d.dim_value for d in tensor_info.type.tensor_type.shape.dim))
    return Counter(description for node in graph.node if (description := describe_node(node, shapes)) is not None)


def describe_node(node: Any, shapes: dict[str, tuple[int, ...]]) -> tuple[Any, ...] | None:
    """Return type, attributes and shapes of a node; None for nodes that are not compared."""
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    out = shapes.get(node.output[0], ())[1:]
    description: tuple[Any, ...] | None = None
    match node.op_type:
        case "Conv":
            pads = tuple(attributes.get("pads", (0, 0, 0, 0)))
            assert pads[:2] == pads[2:]
            strides, groups = tuple(attributes["strides"]), attributes.get("group", 1)
            description = "Conv", shapes[node.input[1]], strides, pads[:2], groups, out
        case "Gemm":
            description = "Gemm", shapes[node.input[1]]
        case "MaxPool":
            description = "MaxPool", tuple(attributes["kernel_shape"]), tuple(attributes["strides"]), out
        case "LRN":
            values = (float(f"{attributes[name]:.6g}") for name in ("alpha", "beta", "bias"))
            description = "LRN", attributes["size"], *values, out
        case "BatchNormalization":
            description = "BatchNormalization", float(f"{attributes['epsilon']:.6g}"), out
        case "Sum":
            description = "Sum", out
        case "Concat":
            description = "Concat", tuple(shapes[name][1] for name in node.input), out
        case _:
            pass
    return description


@pytest.mark.parametrize(("file", "name", "options", "side"), CASES, ids=[case[0] for case in CASES])
def test_layers_equal_the_nodes_of_the_onnx_graph(file: str, name: str, options: dict[str, Any], side: int) -> None:
    counts, expected = layer_counts(MODELS[name](**options), side), node_counts(file, side)
    if name == "densenet121":  # the graph computes the scores by a convolution
        scores = ("Conv", (1000, 1024, 1, 1), (1, 1), (0, 0), 1, ())  # the graph states no output shape
        expected = expected - Counter([scores]) + Counter([("Gemm", (1000, 1024))])
    assert counts - expected == Counter()
    assert expected - counts == Counter()
    assert counts.total() > 12
