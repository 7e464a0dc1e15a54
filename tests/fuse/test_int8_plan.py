"""A network in int8 has outputs close to those in float64, and keeps codes from one quantized layer to the next."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Parallel, Sequential
from pellucid.fuse.inference import int8_inference
from pellucid.fuse.inference.int8_runs import (
    Dequantize,
    Quantize,
    QuantizedConvolution,
    QuantizedDense,
    QuantizedMaxPool,
    QuantizedPad,
    QuantizedResidual,
)
from pellucid.fuse.inference.runs import AsWritten, InPlaceActivation
from pellucid.layers import (
    GELU,
    AdaptiveAvgPool2d,
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
)
from pellucid.operators import Learned
from tests.fuse.test_fuse import vision_inputs, vision_networks
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

    run = int8_inference(net, cast(params, torch.float32), [x.float()])
    y = run(x.float()).double()
    error = (rounded - expected).abs().max()
    assert (y - rounded).abs().max() < error / 4  # values halfway between two codes may be rounded to either
    assert error < 0.05 * expected.abs().max()
    expected_types = [Quantize, QuantizedConvolution, QuantizedMaxPool, QuantizedConvolution, AsWritten, QuantizedDense]
    assert types_of(run) == expected_types


def test_values_outside_the_calibrated_range_saturate() -> None:
    net = Sequential(conv=Conv2d(1, 1, bias=False), relu=ReLU(), again=Conv2d(1, 1, bias=False))
    params = {"conv": {"weight": torch.ones(1, 1, 1, 1)}, "relu": {}, "again": {"weight": torch.ones(1, 1, 1, 1)}}
    run = int8_inference(net, params, [torch.linspace(-1, 2, 50).view(1, 1, 5, 10)])
    y = run(torch.tensor([-5.0, -1.0, 1.0, 2.0, 7.0]).view(1, 1, 1, 5))
    torch.testing.assert_close(y.flatten(), torch.tensor([0.0, 0.0, 1.0, 2.0, 2.0]), rtol=0, atol=2 * 3 / STEPS)


def test_all_batches_of_images_extend_the_ranges() -> None:
    net, params = Sequential(conv=Conv2d(1, 1, bias=False)), {"conv": {"weight": torch.ones(1, 1, 1, 1)}}
    small, large = torch.rand(2, 1, 4, 4), 10 + torch.rand(2, 1, 4, 4)
    run = int8_inference(net, params, [small, large, small])
    torch.testing.assert_close(run(large), large, rtol=0, atol=11 / STEPS)


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


@pytest.mark.parametrize("after", [[], [ReLU()], [ReLU(), Conv2d(3, 1)], [Sigmoid(), Conv2d(3, 1)]], ids=repr)
@pytest.mark.parametrize("stem", [Conv2d(4, 3, padding=1), Identity()], ids=["stem", "input"])
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_have_outputs_close_to_those_in_float64(name: str, stem: Layer, after: list[Layer]) -> None:
    net = Sequential(stem=stem, block=BLOCKS[name], after=Sequential(*after))
    params, x = Sample(net, (4, 8, 8)).inputs(6)
    compare(net, params, x)


def compare(net: Layer, params: Any, x: Tensor) -> Any:
    """Compare a network with PyTorch in float64, twice, on inputs that must not change; return its function."""
    expected = reference_forward(net, params, x, Mode())
    params, x = cast(params, torch.float32), x.float()
    before = tree_map(torch.clone, (params, x))
    run = int8_inference(net, params, [x])
    for _ in range(2):
        for y, exact in zip(tensors(run(x)), tensors(expected), strict=True):
            assert y.dtype is torch.float32
            assert y.shape == exact.shape
            assert (y - exact).norm() < 0.04 * exact.norm()
    for one, other in zip(tensors((params, x)), tensors(before), strict=True):
        assert torch.equal(one, other)
    return run


def types_of(run: Any) -> list[type]:
    return [type(part) for part in run.run.runs]


def tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    else:
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from tensors(part)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(net=vision_networks())
def test_random_networks_are_close_to_float_and_change_neither_inputs_nor_parameters(net: Layer) -> None:
    params, x, _ = vision_inputs(net)
    params, x = cast(params, torch.float32), x.float()
    before = tree_map(torch.clone, (params, x))
    try:
        run = int8_inference(net, params, [x])
    except PellucidError as error:
        assert "contains no Conv2d" in str(error)  # noqa: PT017 - not every random network has one
        return
    y, expected = run(x), reference_forward(net, params, x, Mode())
    assert y.shape == expected.shape
    assert isinstance(net, Sequential)
    *names, _ = net.children  # after the last activation, all values but the smallest may be 0
    without_last = Sequential(**{name: net.children[name] for name in names})
    before_last = reference_forward(without_last, {name: params[name] for name in names}, x, Mode())
    assert (y - expected).norm() <= 0.1 * before_last.norm()
    for one, other in zip(tensors((params, x)), tensors(before), strict=True):
        assert torch.equal(one, other)


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


def test_a_learned_map_is_not_overwritten_by_a_sum() -> None:
    learned = Graph({"map": (Learned((2, 4, 5, 5), std=1.0),)}, ("map",))
    net = Parallel({"map": learned, "body": Conv2d(4, 1)}, Add())
    params, _ = net.init((4, 5, 5), torch.Generator().manual_seed(0))
    x, before = torch.rand(2, 4, 5, 5), tree_map(torch.clone, params)
    run = int8_inference(net, params, [x])
    expected = F.conv2d(x, before["body"]["weight"], before["body"]["bias"]) + before["map"]["map"][""]
    for _ in range(2):
        torch.testing.assert_close(run(x), expected, rtol=0, atol=0.05)
    assert torch.equal(params["map"]["map"][""], before["map"]["map"][""])


def test_codes_are_kept_between_quantized_layers() -> None:
    """One conversion at the input, none between the layers; the last convolution outputs float32."""
    block = Parallel((Identity(), BODY), Add())
    layers = [Conv2d(4, 3, padding=1), ReLU(), block, ReLU(), Pad2d(1), MaxPool2d(2), block, Conv2d(4, 1)]
    net = Sequential(*layers)
    run = compare(net, *Sample(net, (4, 9, 9)).inputs(5))
    expected = [Quantize, QuantizedConvolution, QuantizedResidual, QuantizedPad, QuantizedMaxPool]
    assert types_of(run) == [*expected, QuantizedResidual, QuantizedConvolution]
    assert run.run.runs[-1].output is None


def test_other_layers_compute_in_float32() -> None:
    net = Sequential(conv=Conv2d(4, 3), norm=BatchNorm(), act=Sigmoid(), conv2=Conv2d(4, 1), flatten=Flatten())
    run = compare(net, *Sample(net, (4, 6, 6)).inputs(5))
    expected = [Quantize, QuantizedConvolution, InPlaceActivation, Quantize, QuantizedConvolution, AsWritten]
    assert types_of(run) == expected
    pooled = Sequential(conv=Conv2d(4, 3), pool=MaxPool2d(2), norm=BatchNorm(), conv2=Conv2d(4, 1))
    run = compare(pooled, *Sample(pooled, (4, 8, 8)).inputs(5))
    assert Dequantize not in types_of(run)  # the convolution before the pooling and the norm outputs float32
    mean = Sequential(conv=Conv2d(4, 3), relu=ReLU(), mean=AdaptiveAvgPool2d(1), flatten=Flatten(), dense=Dense(3))
    run = compare(mean, *Sample(mean, (4, 8, 8)).inputs(5))
    assert types_of(run) == [Quantize, QuantizedConvolution, AsWritten, AsWritten, Quantize, QuantizedDense]


def test_a_convolution_keeps_only_positive_values_if_relu_follows_its_pooling() -> None:
    net = Sequential(conv=Conv2d(4, 3), pool=MaxPool2d(2), relu=ReLU(), conv2=Conv2d(4, 1))
    run = compare(net, *Sample(net, (4, 8, 8)).inputs(5))
    assert run.run.runs[1].output.zero_point == 0
    assert types_of(run) == [Quantize, QuantizedConvolution, QuantizedMaxPool, QuantizedConvolution]


def test_networks_that_cannot_be_quantized_are_refused() -> None:
    x = torch.rand(2, 3, 4, 4)
    mlp = Sequential(flatten=Flatten(), dense=Dense(4))
    params, _ = mlp.init((3, 4, 4), torch.Generator().manual_seed(0))
    with pytest.raises(PellucidError, match=r"contains no Conv2d to quantize; use precision=None"):
        int8_inference(mlp, params, [x])
    net = Sequential(conv=Conv2d(4, 3))
    params, _ = net.init((3, 4, 4), torch.Generator().manual_seed(0))
    with pytest.raises(PellucidError, match="needs weights in float32 on the CPU"):
        int8_inference(net, cast(params, torch.float64), [x.double()])
    params["conv"]["weight"][0, 0, 0, 0] = float("inf")
    with pytest.raises(PellucidError, match=r"NaN or infinite for these images; check the images and the weights"):
        int8_inference(net, params, [x])


def test_machines_without_the_kernels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Sequential(conv=Conv2d(4, 3))
    params, _ = net.init((3, 4, 4), torch.Generator().manual_seed(0))
    with monkeypatch.context() as patch:
        patch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
        with pytest.raises(PellucidError, match=r"this processor has no AVX-512 VNNI instructions"):
            int8_inference(net, params, [torch.rand(1, 3, 4, 4)])
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(PellucidError, match=r"has no int8 kernels .*; install PyTorch 2.13 for x86"):
        int8_inference(net, params, [torch.rand(1, 3, 4, 4)])
