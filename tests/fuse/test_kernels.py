"""PyTorch's kernels compute the gradients that the layers' own formulas state, for every option of every layer."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.combine import Graph, Parallel, Sequential
from pellucid.fuse import by_kernel, freeze, fuse, kernel_gradient, with_kernels
from pellucid.fuse.frozen import FrozenLayer
from pellucid.fuse.kernel_form import KernelForm
from pellucid.fuse.kernels import BACKWARD_KERNELS
from pellucid.layers import (
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    GroupNorm,
    InstanceNorm2d,
    Layer,
    LayerNorm,
    LpPool2d,
    MaxPool2d,
    Mode,
    Pad2d,
    ReLU,
)
from pellucid.operators import Convolve
from pellucid.rules import own
from pellucid.sweep import backward, own_rule
from tests.cases import each, each_sample
from tests.layers.samples import SAMPLES
from tests.operators.cases import CASES as OPERATOR_CASES
from tests.operators.cases import draw_inputs
from tests.oracle import Sample, assert_close, autograd, bf16_params, cast, cotangent, leaves, strided_copy


def generated_samples() -> list[Sample]:
    """Return samples of convolutions, pools and normalizations with combinations of their options."""
    samples = []
    for kernel, stride, padding, dilation, groups, bias in product(
        (1, 3, (2, 3)), (1, 2, (3, 1)), (0, 1, (2, 0)), (1, 2, (1, 3)), (1, 2), (True, False)
    ):
        layer = Conv2d(
            4, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias, init_bias="normal"
        )
        samples.append(Sample(layer, (2, 8, 9)))
        transposed = ConvTranspose2d(
            4, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias
        )
        samples.append(Sample(transposed, (2, 6, 7)))
    samples += [
        Sample(Conv2d(4, kernel, padding="same", dilation=dilation, groups=groups), (2, 7, 6))
        for kernel, dilation, groups in product((1, 2, (4, 3)), (1, (3, 2)), (1, 2))
    ]
    samples += [
        Sample(ConvTranspose2d(4, 3, stride=stride, output_padding=extra, dilation=dilation, groups=2), (2, 5, 4))
        for stride, extra, dilation in ((2, 1, 1), (3, 2, 1), (3, (0, 1), 1), (1, 1, 2), ((2, 1), (2, 1), 3))
    ]
    for kernel, stride, padding, ceil in product((2, 3, (2, 3)), (None, 1, (3, 2)), (0, 1), (False, True)):
        for dilation in (1, 2):
            samples.append(Sample(MaxPool2d(kernel, stride, padding, dilation, ceil), (2, 9, 11)))
            samples += [
                Sample(AvgPool2d(kernel, stride, padding, ceil, included, dilation), (2, 9, 11))
                for included in (True, False)
            ]
            if not padding:
                samples.append(Sample(LpPool2d(kernel, 3.0, stride, ceil, dilation), (2, 9, 11)))
    for shape, train in product(((6,), (6, 4, 5)), (True, False)):
        samples += [Sample(layer, shape, train, (5,)) for layer in (BatchNorm(), BatchNorm(epsilon=0.3))]
    samples += [Sample(GroupNorm(groups), shape) for groups in (1, 3, 6) for shape in ((6, 4, 5), (12,))]
    samples += [Sample(InstanceNorm2d(affine=affine), (6, 4, 5)) for affine in (True, False)]
    samples += [Sample(LayerNorm(shape), (6, 4, 5)) for shape in (None, (5,), (4, 5))]
    samples += [
        Sample(Pad2d(edges, kind), (2, 5, 6))
        for kind in ("reflect", "replicate", "circular")
        for edges in (2, (1, 0, 3, 2), (-1, 2, 1, -2), (-1, -2, -1, 0))
    ]
    return samples


# Means over one or two values, where dx is a difference of equal terms: only compared in float64.
FEW_VALUES = [Sample(GroupNorm(12), (12,)), Sample(LayerNorm((1,)), (6, 1)), Sample(LayerNorm((2,)), (6, 2))]


def kernel_samples() -> list[Sample]:
    return [sample for sample in [*SAMPLES, *generated_samples()] if type(sample.layer) in BACKWARD_KERNELS]


def both_gradients(sample: Sample, change: Any = lambda leaf: leaf) -> tuple[Any, Any, Any, Any]:
    """Return the inputs, dy, the results of the layer's own `backward`, and those of its kernel."""
    params, x = sample.inputs()
    x = change(x)
    y, cache = sample.layer.forward(params, x, sample.mode())
    dy = change(cotangent(y))
    kernel = BACKWARD_KERNELS[type(sample.layer)]
    return (params, x), dy, sample.layer.backward(params, cache, dy), kernel(sample.layer, params, cache, dy)


def assert_equal(actual: Any, expected: Any, tolerance: float) -> None:
    """Compare (dx, dparams); the shapes and dtypes must be equal."""
    assert_close(leaves(actual[0]), leaves(expected[0]), tolerance, "dx")
    assert_close(leaves(actual[1]), leaves(expected[1]), tolerance, "dparams")
    for one, other in zip(leaves(actual).values(), leaves(expected).values(), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)


def test_samples_cover_every_kernel() -> None:
    covered = {type(sample.layer) for sample in kernel_samples()} | {type(case.layer) for case in OPERATOR_CASES}
    assert covered >= BACKWARD_KERNELS.keys()


@each_sample(kernel_samples())
def test_formula_and_kernel_equal_the_reference_and_its_autograd(sample: Sample) -> None:
    (params, x), dy, by_formula, by_kernel = both_gradients(sample)
    _, expected_dx, expected_dparams = autograd(sample.layer, params, x, sample.mode(), dy)
    for dx, dparams in (by_formula, by_kernel):
        assert_close(leaves(dx), expected_dx, 1e-10, "dx")
        assert_close(leaves(dparams), expected_dparams, 1e-10, "dparams")


@each_sample(kernel_samples())
def test_formula_and_kernel_agree_for_channels_last_and_strided_tensors(sample: Sample) -> None:
    def channels_last(leaf: Tensor) -> Tensor:
        return leaf.contiguous(memory_format=torch.channels_last) if leaf.dim() == 4 else leaf

    for change in (channels_last, strided_copy):
        _, _, by_formula, by_kernel = both_gradients(sample, change)
        assert_equal(by_formula, by_kernel, 1e-11)


@each_sample(sample for sample in kernel_samples() if not sample.train)
def test_formula_and_kernel_agree_for_an_empty_batch(sample: Sample) -> None:
    _, _, by_formula, by_kernel = both_gradients(sample, lambda leaf: leaf[:0])
    assert_equal(by_formula, by_kernel, 0.0)


@each_sample(kernel_samples())
def test_formula_and_kernel_agree_in_bfloat16(sample: Sample) -> None:
    params, x = sample.inputs()
    params = bf16_params(sample.layer, params)
    y, cache = sample.layer.forward(params, cast(x, torch.bfloat16), sample.mode())
    dy = cotangent(y)
    by_formula = sample.layer.backward(params, cache, dy)
    assert_equal(by_formula, BACKWARD_KERNELS[type(sample.layer)](sample.layer, params, cache, dy), 0.05)


@each("case", [case for case in OPERATOR_CASES if type(case.layer) in BACKWARD_KERNELS])
def test_formula_and_kernel_of_an_operator_agree(case: Any) -> None:
    xs = draw_inputs(case)
    x = xs[0] if len(xs) == 1 else xs
    y, cache = case.layer.forward({}, x, Mode())
    dy = cotangent(y)
    by_formula = case.layer.backward({}, cache, dy)
    assert_equal(by_formula, BACKWARD_KERNELS[type(case.layer)](case.layer, {}, cache, dy), 1e-11)


CONVOLUTIONS = [
    Convolve(stride, padding, dilation, groups, transposed=transposed, output_padding=extra if transposed else ())
    for stride, padding, dilation, extra in [
        ((1,), (0,), (1,), (0,)),
        ((3,), (2,), (1,), (2,)),
        ((2,), (1,), (3,), (2,)),
        ((1, 2), (1, 0), (2, 1), (1, 1)),
        ((3, 2), (0, 2), (1, 2), (2, 0)),
        ((1, 2, 1), (1, 1, 0), (1, 1, 2), (0, 1, 1)),
    ]
    for groups, transposed in product((1, 2), (False, True))
]


@each("layer", CONVOLUTIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_convolutions_with_computed_weights_equal_autograd(layer: Convolve, bias: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    axes = len(layer.stride)
    x = torch.randn(2, 4, *(9, 8, 7)[:axes], generator=rng, dtype=torch.float64)
    channels = (4, 6 // layer.groups) if layer.transposed else (6, 4 // layer.groups)
    weight = torch.randn(*channels, *(2, 3, 1)[:axes], generator=rng, dtype=torch.float64)
    inputs = (x, weight, torch.randn(6, generator=rng, dtype=torch.float64)) if bias else (x, weight)
    y, cache = layer.forward({}, inputs, Mode())
    dy = cotangent(y)
    tracked = [part.clone().requires_grad_() for part in inputs]
    extra = layer.output_padding or (0,) * axes
    settings = (layer.stride, layer.padding, layer.dilation, layer.transposed, extra, layer.groups)
    output = torch.convolution(tracked[0], tracked[1], tracked[2] if bias else None, *settings)
    expected = torch.autograd.grad(output, tracked, dy)
    for rule in (own_rule, kernel_gradient("", layer)):
        dx, dparams = rule(layer, {}, cache, dy)
        assert dparams == {}
        for actual, gradient in zip(dx, expected, strict=True):
            assert_close(actual, gradient, 1e-11)


def network() -> Sequential:
    """Return a network with layers that have kernels inside of each kind of combinator."""
    graph = Graph({"conv": (Conv2d(3, 1), "input"), "sum": (Add(), "conv", "input")}, outputs=("sum",))
    branches = Parallel({"left": Conv2d(3, (2, 4), padding="same"), "right": ReLU()}, Add())
    return Sequential(first=Conv2d(3, 3), norm=BatchNorm(), branches=branches, graph=graph, pool=MaxPool2d(2))


def test_networks_with_kernels_have_the_same_caches_and_gradients() -> None:
    net = network()
    params, x = Sample(net, (2, 8, 9)).inputs()
    y, cache = net.forward(params, x, Mode())
    dy = cotangent(y)
    expected = backward(net, params, cache, dy)
    kernel_net = with_kernels(net)
    forms = [type(layer) for layer in kernel_net.layers.values()]
    assert forms == [KernelForm, KernelForm, Parallel, Graph, KernelForm]
    kernel_y, kernel_cache = kernel_net.forward(params, x, Mode())
    assert torch.equal(kernel_y, y)
    assert_close(leaves(kernel_cache), leaves(cache), 0.0, "cache")
    assert_close(leaves(backward(kernel_net, params, cache, dy)), leaves(expected), 1e-11, "gradients")
    assert_close(leaves(backward(net, params, cache, dy, kernel_gradient)), leaves(expected), 1e-11, "gradients")
    dx, _ = backward(net, params, cache, dy, lambda path, layer: by_kernel(own))
    assert_close(dx, expected[0], 1e-11, "dx")


def test_frozen_layers_use_kernels_too() -> None:
    net = network()
    params, _ = Sample(net, (2, 8, 9)).inputs()
    frozen = with_kernels(freeze(net, params, {"first.weight", "first.bias"}))
    assert frozen.layers["first"] == FrozenLayer(KernelForm(net.layers["first"]))


@pytest.mark.parametrize("layer", [Conv2d(64, 3, padding="same"), ConvTranspose2d(64, 3, padding=1)], ids=repr)
def test_pull_computes_no_gradients_of_parameters(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    params, x = Sample(layer, (8, 4, 4)).inputs()
    y, cache = layer.forward(params, x, Mode())
    dy = cotangent(y)
    expected = autograd(layer, params, x, Mode(), dy)[1]

    def refuse(*arguments: object) -> object:
        raise AssertionError("gradients of parameters are computed")

    monkeypatch.setattr("pellucid.layers.conv2d.weight_gradient", refuse)
    monkeypatch.setattr("pellucid.layers.convtranspose2d.weight_gradient", refuse)
    monkeypatch.setitem(BACKWARD_KERNELS, type(layer), refuse)
    assert_close(leaves(layer.pull(params, cache, dy)), expected, 1e-10)
    assert_close(leaves(KernelForm(layer).pull(params, cache, dy)), expected, 1e-10)


@each_sample(kernel_samples())
def test_networks_that_train_use_no_formula_that_has_a_kernel(sample: Sample) -> None:
    """The layer follows one with a trained weight, so its dx is needed."""
    if sample.shape and isinstance(sample.shape[0], int):
        net = fuse(Sequential(first=Conv2d(sample.shape[0], 1), layer=sample.layer))
        assert type(net.layers.get("layer")) is not type(sample.layer)
