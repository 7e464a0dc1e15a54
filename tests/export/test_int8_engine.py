"""Networks that onnxruntime computes in int8 have outputs close to those in float64."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from onnxruntime import quantization
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Parallel, Sequential
from pellucid.export import to_onnx
from pellucid.export.engine import int8_engine
from pellucid.layers import (
    GELU,
    Add,
    AvgPool2d,
    BatchNorm,
    Concat,
    Conv2d,
    Dense,
    Flatten,
    Identity,
    Layer,
    MaxPool2d,
    Mode,
    Pad2d,
    ReLU,
    ReLU6,
    Sigmoid,
    Upsample,
)
from pellucid.model import Model
from tests.oracle import Sample, cast, tree_map
from tests.references import reference_forward

pytestmark = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="the processor has no VNNI instructions")

STEPS = 255  # from the smallest to the largest value of a tensor


def quantized_values(x: Tensor, low: float, high: float) -> Tensor:
    """Return x rounded to the 256 values from `low` to `high`, as quantization and dequantization do."""
    scale = (high - low) / STEPS
    zero_point = round(-low / scale)
    return ((x / scale).round() + zero_point).clamp(0, STEPS).sub(zero_point).mul(scale)


def quantized_filters(weight: Tensor) -> Tensor:
    """Return the weight with each output's values rounded to multiples of its largest absolute value / 127."""
    scale = weight.abs().flatten(1).amax(1).view(-1, *(1,) * (weight.dim() - 1)) / 127
    return (weight / scale).round() * scale


def test_a_network_is_the_one_with_rounded_weights_and_activations() -> None:
    """Written out in float64: every rounding of the network, with the ranges that the exact network has."""
    net = Sequential(
        conv1=Conv2d(8, 3, padding=1),
        relu1=ReLU(),
        pool=MaxPool2d(2),
        conv2=Conv2d(6, 3, bias=False),
        norm=BatchNorm(),
        relu2=ReLU6(),
        flatten=Flatten(),
        dense=Dense(5),
    )
    params, x = Sample(net, (3, 10, 10)).inputs(40)
    w1, b1 = params["conv1"]["weight"], params["conv1"]["bias"]
    scale = params["norm"]["weight"] / torch.sqrt(params["norm"]["running_var"] + 1e-5)
    w2 = params["conv2"]["weight"] * scale.view(-1, 1, 1, 1)
    b2 = params["norm"]["bias"] - params["norm"]["running_mean"] * scale
    w3, b3 = params["dense"]["weight"], params["dense"]["bias"]

    maps1 = F.max_pool2d(F.conv2d(x, w1, b1, padding=1).relu(), 2)
    maps2 = F.relu6(F.conv2d(maps1, w2, b2))
    expected = F.linear(maps2.flatten(1), w3, b3)
    high1, high2 = F.conv2d(x, w1, b1, padding=1).max().item(), maps2.max().item()

    rounded_x = quantized_values(x, x.min().item(), x.max().item())
    rounded1 = F.conv2d(rounded_x, quantized_filters(w1), b1, padding=1).relu()
    rounded1 = F.max_pool2d(quantized_values(rounded1, 0.0, high1), 2)
    rounded2 = F.relu6(F.conv2d(rounded1, quantized_filters(w2), b2))
    rounded2 = quantized_values(rounded2, 0.0, high2)
    rounded = F.linear(rounded2.flatten(1), quantized_filters(w3), b3)

    run = int8_engine(net, cast(params, torch.float32), [x.float()])
    y = run(x.float()).double()
    error = (rounded - expected).abs().max()
    assert (y - rounded).abs().max() < error / 4  # values halfway between two codes may be rounded to either
    assert error < 0.05 * expected.abs().max()


def test_values_outside_the_calibrated_range_saturate() -> None:
    net = Sequential(conv=Conv2d(2, 1, bias=False), relu=ReLU(), again=Conv2d(1, 1, bias=False))
    mean = torch.full((2, 2, 1, 1), 0.5)
    params = {"conv": {"weight": mean}, "relu": {}, "again": {"weight": mean[:1]}}
    run = int8_engine(net, params, [torch.linspace(-1, 2, 50).view(10, 1, 1, 5).repeat(1, 2, 1, 1)])
    y = run(torch.tensor([-5.0, -1.0, 1.0, 2.0, 7.0]).view(1, 1, 1, 5).repeat(1, 2, 1, 1))
    torch.testing.assert_close(y.flatten(), torch.tensor([0.0, 0.0, 1.0, 2.0, 2.0]), rtol=0, atol=2 * 3 / STEPS)


def test_all_batches_of_images_extend_the_ranges() -> None:
    net, params = Sequential(conv=Conv2d(2, 1, bias=False)), {"conv": {"weight": torch.eye(2).view(2, 2, 1, 1)}}
    small, large = torch.rand(2, 2, 4, 4), 10 + torch.rand(2, 2, 4, 4)
    run = int8_engine(net, params, [small, large, small])
    torch.testing.assert_close(run(large), large, rtol=0, atol=2 * 11 / STEPS)  # the input and the output are rounded


BODY = Sequential(conv1=Conv2d(4, 3, padding=1), relu=ReLU(), conv2=Conv2d(4, 3, padding=1), norm=BatchNorm())
POOLED = Sequential(pool=MaxPool2d(3, 1, padding=1), conv=Conv2d(4, 1))
# The inputs of their second convolutions have much smaller ranges than the inputs of the blocks.
GATED = Parallel((BODY, Sequential(act=Sigmoid(), conv=Conv2d(4, 1))), Add())
AVERAGED = Parallel((BODY, Sequential(pool=AvgPool2d(3, 1, padding=1), conv=Conv2d(4, 1))), Add())
PROJECTION = Sequential(conv=Conv2d(4, 1), norm=BatchNorm())
RECTIFIED = Sequential(conv=Conv2d(4, 1), relu=ReLU())
PRE_ACTIVATION = Sequential(norm=BatchNorm(), relu=ReLU(), conv=Conv2d(4, 3, padding=1))
DENSE_LAYER = Parallel({"before": Identity(), "added": PRE_ACTIVATION}, Concat())
BLOCKS: dict[str, Layer] = {
    "identity": Parallel((Identity(), BODY), Add()),
    "order": Parallel((BODY, Identity()), Add()),
    "projection": Parallel((PROJECTION, BODY), Add()),
    "nested": Parallel((Parallel((Identity(), BODY), Add()), BODY), Add()),
    "nested, sigmoid": Parallel((Identity(), Sequential(block=GATED, conv=Conv2d(4, 1))), Add()),
    "nested, average": Parallel((Identity(), Sequential(block=AVERAGED, conv=Conv2d(4, 1))), Add()),
    "pooled body": Parallel((Identity(), POOLED), Add()),
    "pooled": Parallel((MaxPool2d(3, 1, padding=1), POOLED), Add()),
    "one convolution": Parallel((Identity(), Conv2d(4, 1)), Add()),
    "activation": Parallel((RECTIFIED, RECTIFIED), Add()),
    "window of one": Parallel((MaxPool2d(1), BODY), Add()),
    "norm before": Parallel((Identity(), PRE_ACTIVATION), Add()),
    "three": Parallel((BODY, RECTIFIED, Identity()), Add()),
    "concatenated": Parallel((Identity(), BODY, POOLED), Concat()),
    "dense block": Sequential(DENSE_LAYER, DENSE_LAYER),
    "padded": Sequential(pad=Pad2d((0, 1, 0, 1)), conv=Conv2d(4, 3, stride=2)),
    "gelu": Sequential(conv=Conv2d(4, 3), act=GELU(), pool=MaxPool2d(2), conv2=Conv2d(4, 1)),
    "norm after pooling": Sequential(conv=Conv2d(4, 3), pool=MaxPool2d(2), norm=BatchNorm(), act=ReLU()),
}


@pytest.mark.parametrize("after", [[], [ReLU(), Conv2d(3, 1)]], ids=repr)
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_have_outputs_close_to_those_in_float64(name: str, after: list[Layer]) -> None:
    net = Sequential(stem=Conv2d(4, 3, padding=1), block=BLOCKS[name], after=Sequential(*after))
    params, x = Sample(net, (4, 8, 8)).inputs(6)
    compare(net, params, x)


def compare(net: Layer, params: Any, x: Tensor) -> Any:
    """Compare a network with PyTorch in float64, twice, on inputs that must not change; return its function."""
    expected = reference_forward(net, params, x, Mode())
    params, x = cast(params, torch.float32), x.float()
    before = tree_map(torch.clone, (params, x))
    run = int8_engine(net, params, [x])
    for _ in range(2):
        for y, exact in zip(tensors(run(x)), tensors(expected), strict=True):
            assert y.dtype is torch.float32
            assert y.shape == exact.shape
            assert (y - exact).norm() < 0.04 * exact.norm()
    for one, other in zip(tensors((params, x)), tensors(before), strict=True):
        assert torch.equal(one, other)
    return run


def tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    else:
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from tensors(part)


def test_networks_with_several_outputs_and_graphs() -> None:
    fork = Sequential(conv=Conv2d(4, 3), heads=Fork(a=Sequential(Conv2d(2, 1), ReLU()), b=ReLU(), c=Identity()))
    compare(fork, *Sample(fork, (4, 6, 6)).inputs(5))
    nodes = {
        "conv": (Conv2d(4, 1), "input"),
        "relu": (ReLU(), "conv"),
        "twice": (Conv2d(4, 3, padding=1), "relu"),
        "again": ("twice", "twice"),
        "sum": (Add(), "relu", "again"),
    }
    graph = Graph(nodes, ("sum", "conv"))
    compare(graph, *Sample(graph, (4, 6, 6)).inputs(5))


def test_quantized_images_are_upsampled() -> None:
    """onnxruntime transposes quantized images, and the axes of Resize with them."""
    net = Sequential(conv=Conv2d(4, 3, padding=1), up=Upsample(scale=2.0), again=Conv2d(4, 3, padding=1))
    compare(net, *Sample(net, (3, 5, 7)).inputs(5))


def test_outputs_are_those_of_onnxruntime_for_the_exported_file_that_it_quantizes(tmp_path: Path) -> None:
    net = Sequential(conv=Conv2d(4, 3), relu=ReLU(), conv2=Conv2d(6, 3), flatten=Flatten(), dense=Dense(3))
    model = Model(net, input_shape=(3, 8, 8), seed=0)
    x = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    to_onnx(model, tmp_path / "float.onnx")
    images = iter([{"input": x.numpy()}])

    class Calibration(quantization.CalibrationDataReader):
        def get_next(self) -> Any:
            return next(images, None)

    quantization.quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "int8.onnx",
        Calibration(),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
    )
    runtime = onnxruntime.InferenceSession(tmp_path / "int8.onnx", providers=["CPUExecutionProvider"])
    expected = torch.from_numpy(runtime.run(None, {"input": x.numpy()})[0]).softmax(1)
    predict = model.predictor(precision="int8", calibration=x)
    assert torch.equal(predict(x), expected)
    assert not torch.equal(predict(x), model.predict(x))


def test_inputs_of_other_shapes_than_the_calibration_images_are_refused() -> None:
    net = Sequential(conv=Conv2d(4, 3), relu=ReLU())
    params, x = Sample(net, (3, 8, 8)).inputs(5)
    run = int8_engine(net, cast(params, torch.float32), [x.float()])
    with pytest.raises(
        PellucidError, match=r"inputs of shape \(3, 8, 9\), but calibration images of shape \(3, 8, 8\)"
    ):
        run(torch.rand(1, 3, 8, 9))


def test_networks_that_cannot_be_quantized_are_refused() -> None:
    x = torch.rand(2, 3, 4, 4)
    mlp = Sequential(flatten=Flatten(), dense=Dense(4))
    params, _ = mlp.init((3, 4, 4), torch.Generator().manual_seed(0))
    with pytest.raises(PellucidError, match=r"contains no Conv2d to quantize; use precision=None"):
        int8_engine(mlp, params, [x])
    net = Sequential(conv=Conv2d(4, 3), squash=Sigmoid())
    params, _ = net.init((3, 4, 4), torch.Generator().manual_seed(0))
    with pytest.raises(PellucidError, match=r"in int8 \(.*\); check the calibration images and the weights"):
        int8_engine(net, params, [3e38 * x])  # the convolution's sums are infinite
    with pytest.raises(PellucidError, match=r"NaN or infinite for these images; check the images and the weights"):
        int8_engine(Sequential(conv=Conv2d(4, 3)), params, [3e38 * x])
    params["conv"]["weight"][0, 0, 0, 0] = float("inf")
    with pytest.raises(PellucidError, match="check the calibration images and the weights"):
        int8_engine(net, params, [x])


def test_a_missing_onnxruntime_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(Sequential(conv=Conv2d(4, 3), flatten=Flatten(), dense=Dense(3)), input_shape=(3, 8, 8), seed=0)
    for name in ("onnx", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(
                PellucidError, match=rf"^ONNX needs the package {name}.*; pip install pellucid\[export\]$"
            ):
                model.predictor(precision="int8", calibration=torch.rand(40, 3, 8, 8))
