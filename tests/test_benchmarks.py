"""The statistics of the page of benchmarks, and the counts of what kernels compute and move."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import profile

from benchmarks.kernels import Kernels
from benchmarks.networks import resnet20
from benchmarks.table import median_interval
from pellucid.layers.base import Mode
from pellucid.model import Model


@pytest.mark.parametrize(("count", "ranks"), [(3, (1, 3)), (6, (1, 6)), (9, (2, 8)), (12, (3, 10)), (20, (6, 15))])
def test_the_interval_of_a_median_has_the_ranks_of_the_sign_test(count: int, ranks: tuple[int, int]) -> None:
    """The ranks are those of Conover's table; for fewer than six values, all of them."""
    assert median_interval([float(k) for k in range(count, 0, -1)]) == ranks


def _kernels_of(step: Callable[[], object]) -> Kernels:
    kernels = Kernels()
    with profile(record_shapes=True) as profiler:
        step()
    kernels.add(profiler.events() or (), 1.0)
    return kernels


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("needs_dx", "passes"), [(True, 2), (False, 1)])
def test_the_operations_of_a_convolution_are_counted(transposed: bool, needs_dx: bool, passes: int) -> None:
    """By hand: 8 output channels of 9 x 9 pixels (or input pixels, if transposed), 3 x 3 taps of 4 channels, 2 each."""
    convolution = torch.conv_transpose2d if transposed else torch.conv2d
    x = torch.rand(2, 4, 9, 9, requires_grad=needs_dx)
    weight = torch.rand(*((4, 8) if transposed else (8, 4)), 3, 3, requires_grad=True)
    y = convolution(x, weight, padding=1)
    flops = 2 * (2 * 8 * 9 * 9) * (4 * 3 * 3)
    assert _kernels_of(lambda: convolution(x, weight, padding=1)).forward == flops
    assert _kernels_of(lambda: y.sum().backward()).backward == passes * flops


@pytest.mark.parametrize(("groups", "stride", "output_side"), [(1, 2, 5), (4, 1, 9)])
def test_stride_and_groups_change_the_operations_of_a_convolution(groups: int, stride: int, output_side: int) -> None:
    """By hand: each of 8 output channels reads 4 / groups channels."""
    x, weight = torch.rand(2, 4, 9, 9), torch.rand(8, 4 // groups, 3, 3)
    kernels = _kernels_of(lambda: torch.conv2d(x, weight, stride=stride, padding=1, groups=groups))
    assert kernels.forward == 2 * (2 * 8 * output_side**2) * (4 // groups * 9)


def test_the_operations_of_pellucids_kernels_are_those_of_the_written_network() -> None:
    """Fused convolutions, with sums and activations in their kernels, compute as many products as separate ones."""
    model = Model(resnet20(width=16), input_shape=(3, 32, 32))
    x = torch.rand(2, 3, 32, 32)
    predict = model.predictor()
    predict(x)
    with torch.inference_mode():
        written = _kernels_of(lambda: model.net.forward(model.params, x, Mode(keep=False)))
    assert _kernels_of(lambda: predict(x)).forward == written.forward > 0


@pytest.mark.parametrize(
    ("step", "passes"),
    [
        (lambda x: nn.functional.relu6(x, inplace=True), 2),  # hardtanh_, which calls clamp
        (torch.relu, 2),  # which calls clamp_min
        (lambda x: nn.functional.batch_norm(x, torch.ones(8), torch.ones(8), training=True), 3),
        (lambda x: nn.functional.batch_norm(x, torch.ones(8), torch.ones(8), training=False), 2),
    ],
)
def test_the_bytes_of_a_kernel_are_counted_once(step: Callable[[Tensor], object], passes: int) -> None:
    """A norm reads its input twice and writes its output in training; in evaluation, it reads it once."""
    x = torch.rand(2, 8, 9, 9)
    assert _kernels_of(lambda: step(x)).moved == passes * 4 * x.numel()


@pytest.mark.parametrize(("mask", "passes"), [((True, True, True), 5), ((False, True, True), 2)])
def test_the_bytes_of_a_norms_backward_pass_depend_on_its_gradients(
    mask: tuple[bool, bool, bool], passes: int
) -> None:  # fmt: skip
    """The sums of the gradients read dy and x; dx needs both again, and is written."""
    x, dy, (ones, *_) = torch.rand(2, 8, 9, 9), torch.rand(2, 8, 9, 9), torch.ones(1, 8)
    arguments = dy, x, ones, ones, ones, ones, ones, True, 1e-5, mask
    assert _kernels_of(lambda: torch.ops.aten.native_batch_norm_backward(*arguments)).moved == passes * 4 * x.numel()
