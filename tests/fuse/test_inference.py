"""A network prepared for prediction has the outputs of the unfused network in evaluation mode."""

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from pellucid.combine import Fork, Graph, Parallel, Sequential
from pellucid.fuse.inference import inference, runs
from pellucid.fuse.inference.runs import (
    INPLACE_KERNELS,
    Affine,
    AsWritten,
    Convolution,
    DenseBlockRun,
    InPlaceActivation,
    MaxPoolRun,
    Residual,
    RunSum,
)
from pellucid.layers import (
    ELU,
    GELU,
    Add,
    AvgPool2d,
    BatchNorm,
    Concat,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    HardSwish,
    Identity,
    Layer,
    LeakyReLU,
    MaxPool2d,
    Mode,
    Pad2d,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from tests.combine.random_networks import networks
from tests.combine.test_random_networks import inputs
from tests.fuse.test_fuse import vision_inputs, vision_networks
from tests.oracle import Sample, assert_close, cast, tree_map
from tests.references import reference_forward

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def each_convolution_kernel() -> Iterator[None]:
    """Yield while small convolutions run as usual, by PyTorch's own kernel, and while all are computed by oneDNN."""
    yield
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "MAX_SMALL_PRODUCTS", 0)
        yield


def compare_with_reference(net: Layer, params: Any, x: Any, dtype: torch.dtype = torch.float64) -> None:
    """Compare with PyTorch's own functions in float64, twice, on inputs that must not change."""
    expected = reference_forward(net, cast(params, torch.float64), cast(x, torch.float64), Mode())
    params, x = cast(params, dtype), cast(x, dtype)
    before = tree_map(torch.clone, (params, x))
    for _ in each_convolution_kernel():
        run = inference(net, params)
        for _ in range(2):
            assert_close(run(x), expected, TOLERANCE[dtype], "y")
    assert_close((params, x), before, 0.0, "what was given")


@pytest.mark.parametrize("layer", [Conv2d(4, 3, padding="same"), Conv2d(4, 3, stride=2), Conv2d(4, 1)], ids=str)
def test_other_image_and_batch_sizes_give_equal_predictions(layer: Conv2d) -> None:
    """The memory layout of the weight is chosen for the first input size."""
    net = Sequential(conv=layer, norm=BatchNorm(), relu=ReLU())
    params, _ = Sample(net, (3, 9, 9)).inputs()
    for _ in each_convolution_kernel():
        run = inference(net, cast(params, torch.float32))
        for shape in ((1, 3, 9, 9), (2, 3, 14, 7), (5, 3, 9, 9), (1, 3, 8, 8)):
            x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
            assert_close(run(x), reference_forward(net, params, x.double(), Mode()), 1e-5, f"y of {shape}")


def test_the_fused_parameters_are_a_copy() -> None:
    net = Sequential(conv=Conv2d(4, 3))
    params, x = Sample(net, (3, 9, 9)).inputs()
    params, x = cast(params, torch.float32), x.float()
    run = inference(net, params)
    expected = reference_forward(net, params, x, Mode()).clone()
    params["conv"]["weight"] += 1.0
    assert_close(run(x), expected, 1e-5, "y")


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(network=networks())
def test_fused_random_networks_give_equal_predictions(network: tuple[Layer, Any]) -> None:
    net, shape = network
    compare_with_reference(net, *Sample(net, shape, make=inputs).inputs(2))


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(net=vision_networks())
def test_fused_vision_networks_give_equal_predictions(net: Layer) -> None:
    params, x, _ = vision_inputs(net)
    compare_with_reference(net, params, x)


CONVOLUTIONS = [
    Conv2d(3, 3, padding=1),
    Conv2d(4, 2, stride=2, bias=False, groups=2),
    Conv2d(3, (1, 3), padding="same", dilation=2),
    Conv2d(3, 2, padding="same"),
    Conv2d(3, (3, 4), padding="same"),
    Conv2d(3, (4, 3), padding="same"),
    Conv2d(3, 3, stride=(2, 1)),
    Conv2d(3, 1, stride=2, padding=1),
]
LAYERS_AFTER = [
    [],
    [BatchNorm(epsilon=0.1)],
    [ReLU6()],
    [BatchNorm(epsilon=0.2), ReLU()],
    [BatchNorm(), SiLU()],
    [HardSwish()],
    [GELU()],
    [GELU("tanh")],
    [BatchNorm(), BatchNorm(), Tanh()],
]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layers_after", LAYERS_AFTER, ids=repr)
@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=repr)
def test_a_convolution_is_fused_with_its_norm_and_activation(
    layer: Conv2d, layers_after: list[Layer], dtype: torch.dtype
) -> None:
    net = Sequential(layer, Sequential(*layers_after))
    params, x = Sample(net, (2, 6, 7)).inputs()
    compare_with_reference(net, params, 3 * x, dtype)
    if len(layers_after) < 3:
        assert isinstance(inference(net, cast(params, dtype)).run, Convolution)


@pytest.mark.parametrize("layer", [*CONVOLUTIONS, Conv2d(4, 3, groups=2, dilation=2)], ids=repr)
def test_an_empty_batch_gives_empty_outputs(layer: Conv2d) -> None:
    params, x = Sample(layer, (2, 6, 7)).inputs()
    run, x = inference(layer, cast(params, torch.float32)), x.float()
    for batch in (x[:0], x, x[:0]):
        assert_close(run(batch), reference_forward(layer, params, batch.double(), Mode()), 1e-5, "y")


ACTIVATIONS = [ReLU(), ReLU6(), LeakyReLU(0.2), ELU(0.7), GELU(), GELU("tanh"), Sigmoid(), SiLU(), HardSwish(), Tanh()]


@pytest.mark.parametrize("layer", ACTIVATIONS, ids=repr)
def test_an_activation_overwrites_tensors_that_no_other_layer_reads(layer: Layer) -> None:
    params, x = Sample(Sequential(Dense(4), layer), (3,)).inputs()
    compare_with_reference(Sequential(Dense(4), layer), params, 5 * x)
    run = inference(Sequential(Dense(4), Flatten(), layer), {**params, "flatten1": {}}).run
    assert [type(function) for function in run.runs] == [AsWritten, AsWritten, InPlaceActivation]
    x = 5 * x
    y = InPlaceActivation(layer)(given_x := x.clone())
    assert y.data_ptr() == given_x.data_ptr()
    assert_close(y, reference_forward(layer, {}, x, Mode()), 1e-15, "y")


def test_every_overwriting_activation_has_a_sample() -> None:
    assert {type(layer) for layer in ACTIVATIONS} == set(INPLACE_KERNELS)


@pytest.mark.parametrize("first", [ReLU(), BatchNorm(), Flatten(), Softmax()], ids=repr)
def test_the_network_input_is_not_overwritten(first: Layer) -> None:
    net = Sequential(Identity(), first, Dropout(), ReLU(), Sigmoid())
    params, x = Sample(net, (2, 3, 3)).inputs()
    compare_with_reference(net, params, x)


BODY = Sequential(conv1=Conv2d(3, 3, padding=1), relu=ReLU(), conv2=Conv2d(3, 3, padding=1), norm=BatchNorm())
PROJECTION = Sequential(conv=Conv2d(3, 1), norm=BatchNorm(epsilon=0.1))
RECTIFIED = Sequential(conv=Conv2d(3, 1), relu=ReLU())
BLOCKS = {
    "identity": (Parallel((Identity(), BODY), Add()), Residual),
    "order": (Parallel((BODY, Identity()), Add()), Residual),
    "projection": (Parallel((PROJECTION, BODY), Add()), Residual),
    "activation in both": (Parallel((RECTIFIED, RECTIFIED), Add()), RunSum),
    "activation behind identity": (Parallel((Identity(), RECTIFIED), Add()), RunSum),
    "norm": (Parallel((Identity(), BatchNorm()), Add()), RunSum),
    "three": (Parallel((BODY, RECTIFIED, Identity()), Add()), RunSum),
    "identities": (Parallel((Identity(), Identity()), Add()), None),
    "concatenated": (Parallel((Identity(), BODY), Concat()), None),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("after", [[], [ReLU()], [ReLU6(), BatchNorm()], [GELU()], [Sigmoid(), Conv2d(2, 1)]], ids=repr)
@pytest.mark.parametrize("name", BLOCKS)
def test_branches_are_summed_by_the_convolution_kernel_or_in_place(
    name: str, after: list[Layer], dtype: torch.dtype
) -> None:
    block, expected_type = BLOCKS[name]
    net = Sequential(stem=Conv2d(3, 1), block=block, after=Sequential(*after))
    params, x = Sample(net, (2, 5, 6)).inputs()
    compare_with_reference(net, params, 2 * x, dtype)
    net_without_stem = net.rebuild({**net.children, "stem": Identity()})  # the block then reads the network's input
    compare_with_reference(net_without_stem, *Sample(net_without_stem, (3, 5, 6)).inputs(), dtype)
    run_types = {type(run) for run in all_parts(inference(net, params))} & {Residual, RunSum}
    assert run_types == ({expected_type} if expected_type else set())


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_layers_of_a_dense_block_write_into_one_tensor(dtype: torch.dtype) -> None:
    long_body = Sequential(
        n1=BatchNorm(), a1=ReLU(), c1=Conv2d(4, 1), n2=BatchNorm(), a2=ReLU6(), c2=Conv2d(2, 3, padding=1)
    )
    short_body = Sequential(norm=BatchNorm(epsilon=0.3), act=ReLU6(), conv=Conv2d(3, 3, padding=1))
    layers = [Parallel({"before": Identity(), "added": body}, Concat()) for body in (long_body, short_body, long_body)]
    transition = [BatchNorm(), ReLU(), Conv2d(4, 1), AvgPool2d(2)]
    net = Sequential(*layers, *transition, MaxPool2d(2))
    params, x = Sample(net, (2, 8, 9)).inputs()
    compare_with_reference(net, params, x, dtype)
    compare_with_reference(Sequential(Pad2d(1), net), {"pad2d1": {}, "sequential1": params}, x, dtype)
    converted = inference(net, params).run.runs
    assert [type(run) for run in converted] == [DenseBlockRun, Affine, AsWritten, Convolution, MaxPoolRun]
    assert [len(run.layers) for run in converted if isinstance(run, DenseBlockRun)] == [3]
    assert converted[1].overwrite_x  # no other layer reads the maps


def test_networks_with_several_inputs_and_outputs_give_equal_predictions() -> None:
    net = Sequential(Fork(a=Sequential(Conv2d(2, 1), ReLU()), b=ReLU(), c=Identity()))
    compare_with_reference(net, *Sample(net, (2, 4, 4)).inputs())


def test_intermediate_images_are_channels_last() -> None:
    net = Sequential(Conv2d(16, 3), ReLU(), Conv2d(16, 3, stride=2))
    params, _ = net.init((3, 48, 48), torch.Generator().manual_seed(0))
    y = inference(net, params)(torch.randn(8, 3, 48, 48))
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(5,), (5, 4, 4)])
def test_a_norm_keeps_its_precision_for_inputs_in_bfloat16(shape: tuple[int, ...]) -> None:
    net = Sequential(norm=BatchNorm(), act=ReLU())
    params, x = Sample(net, shape).inputs(20)
    params["norm"]["running_mean"] += 100  # scaled in half precision, it would swamp the rest
    x = (x + 100).bfloat16()
    y = inference(net, cast(params, torch.float32))(x)
    assert y.dtype is torch.bfloat16
    assert_close(y, reference_forward(net, params, x.double(), Mode()), 0.01, "y")


def all_parts(run: Any) -> Iterator[Any]:
    """Yield all objects nested in a prepared network, itself included."""
    yield run
    children: Iterable[Any] = ()
    match run:
        case dict():
            children = run.values()
        case tuple():
            children = run
        case _ if is_dataclass(run) and not isinstance(run, Layer):
            children = [getattr(run, field.name) for field in fields(run)]
    for part in children:
        yield from all_parts(part)


NODES = {
    "conv": (Conv2d(3, 1), "input"),
    "norm": (BatchNorm(epsilon=0.1), "conv"),
    "relu": (ReLU(), "norm"),
    "twice": (Conv2d(3, 3, padding=1), "relu"),
    "other": (BatchNorm(), "twice"),  # reads the first run of the node, not the second
    "again": ("twice", "relu"),
    "last": (BatchNorm(epsilon=0.3), "again"),
    "sum": (Add(), "other", "last"),
    "out": (Sigmoid(), "sum"),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("outputs", "n_affine"), [(("out",), 2), (("out", "relu"), 2), (("conv", "out"), 3)])
def test_consecutive_nodes_with_one_reader_are_joined(
    outputs: tuple[str, ...], n_affine: int, dtype: torch.dtype
) -> None:
    net = Graph(NODES, outputs)
    params, x = Sample(net, (2, 4, 5)).inputs()
    compare_with_reference(net, params, x, dtype)
    assert sum(isinstance(part, Affine) for part in all_parts(inference(net, params))) == n_affine
