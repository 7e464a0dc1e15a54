"""The networks against graphs that others wrote: those of ONNX's light model zoo, which come with the onnx package.

Their weights are constants that tell nothing, but the graphs say which windows, strides, groups and shapes each
network has, and in which order its branches are laid behind one another. ZFNet is there with other widths, so that
it is not compared.
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
from tests.models.zoo import meta

onnx = pytest.importorskip("onnx")
# The graph of GoogLeNet rounds the sizes behind its pooling down, Caffe's up: of 222 pixels both leave the same.
CASES = [
    ("bvlc_alexnet", "alexnet", {"original": True}, 224),
    ("vgg19", "vgg19", {}, 224),
    ("inception_v1", "googlenet", {"original": True}, 222),
    ("resnet50", "resnet50", {}, 224),
    ("densenet121", "densenet121", {}, 224),
    ("squeezenet", "squeezenet1_1", {}, 224),
]


def described(layer: Layer, weights: dict[str, Any], x: Any, y: Any) -> tuple[Any, ...] | None:
    """Return what a graph would say of a layer; None where the two worlds write the same differently."""
    out = tuple(y.shape[1:])
    said: tuple[Any, ...] | None = None
    match layer:
        case Conv2d():
            padding = layer.padding if isinstance(layer.padding, str) else pair(layer.padding)
            said = "Conv", tuple(weights["weight"].shape), pair(layer.stride), padding, layer.groups, out
        case Dense():
            said = "Gemm", tuple(weights["weight"].shape)
        case MaxPool2d():
            said = "MaxPool", pair(layer.kernel), pair(layer.step), out
        case LocalResponseNorm():
            said = "LRN", layer.size, layer.alpha, layer.beta, layer.k, out
        case BatchNorm():
            said = "BatchNormalization", layer.epsilon, out
        case Add():
            said = "Sum", out
        case Concat():
            said = "Concat", tuple(one.shape[1] for one in x), out
        case _:
            pass
    return said


def ours(net: Layer, side: int) -> Counter[Any]:
    params, _ = meta(net, (3, side, side))
    held = flatten(params)
    found: Counter[Any] = Counter()

    def note(path: str, layer: Layer, x: Any, y: Any, cache: Any) -> None:
        weights = {name.removeprefix(f"{path}."): leaf for name, leaf in held.items() if name.startswith(f"{path}.")}
        said = described(layer, weights, x, y)
        if said is not None:
            found[said] += 1

    forward(net, params, torch.empty(1, 3, side, side, device="meta"), Mode(keep=False), note)
    return found


def theirs(name: str, side: int) -> Counter[Any]:
    file = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"
    if not file.is_file():
        pytest.skip(f"this onnx package has no {file.name}")
    model = onnx.load(file)
    graph = model.graph
    sizes = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    shapes: dict[str, tuple[int, ...]] = {}
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            shapes[node.output[0]] = tuple(sizes[node.input[0]].tolist())
    for one in graph.input:
        dims = one.type.tensor_type.shape.dim
        if len(dims) == 4 and dims[1].dim_value == 3 and "data" in one.name:
            dims[2].dim_value = dims[3].dim_value = side
    del graph.value_info[:]
    for one in onnx.shape_inference.infer_shapes(model).graph.value_info:
        shapes.setdefault(one.name, tuple(d.dim_value for d in one.type.tensor_type.shape.dim))
    return Counter(said for node in graph.node if (said := read(node, shapes)) is not None)


def read(node: Any, shapes: dict[str, tuple[int, ...]]) -> tuple[Any, ...] | None:
    """Return what the graph says of a node."""
    has = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    out = shapes.get(node.output[0], ())[1:]
    said: tuple[Any, ...] | None = None
    match node.op_type:
        case "Conv":
            pads = tuple(has.get("pads", (0, 0, 0, 0)))
            assert pads[:2] == pads[2:]
            said = "Conv", shapes[node.input[1]], tuple(has["strides"]), pads[:2], has.get("group", 1), out
        case "Gemm":
            said = "Gemm", shapes[node.input[1]]
        case "MaxPool":
            said = "MaxPool", tuple(has["kernel_shape"]), tuple(has["strides"]), out
        case "LRN":
            said = "LRN", has["size"], *(float(f"{has[name]:.6g}") for name in ("alpha", "beta", "bias")), out
        case "BatchNormalization":
            said = "BatchNormalization", float(f"{has['epsilon']:.6g}"), out
        case "Sum":
            said = "Sum", out
        case "Concat":
            said = "Concat", tuple(shapes[one][1] for one in node.input), out
        case _:
            pass
    return said


@pytest.mark.parametrize(("file", "name", "options", "side"), CASES, ids=[case[0] for case in CASES])
def test_every_layer_of_the_graph_is_a_layer_of_ours(file: str, name: str, options: dict[str, Any], side: int) -> None:
    found, wanted = ours(MODELS[name](**options), side), theirs(file, side)
    if name == "densenet121":  # the graph's scores are a convolution
        scores = ("Conv", (1000, 1024, 1, 1), (1, 1), (0, 0), 1, ())  # whose output has no stated shape
        wanted = wanted - Counter([scores]) + Counter([("Gemm", (1000, 1024))])
    assert found - wanted == Counter()
    assert wanted - found == Counter()
    assert found.total() > 12
