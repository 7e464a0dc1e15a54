"""What the kernels of a step compute and move, by the events of PyTorch's profiler with shapes and arguments."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

FORWARD = {  # convolutions
    "aten::mkldnn_convolution",
    "aten::_convolution",  # transposed
    "aten::_slow_conv2d_forward",
    "mkldnn::_convolution_pointwise",
    "mkldnn::_convolution_pointwise_",
}
BACKWARD = {"aten::convolution_backward"}
# Kernels of attention: the number of their products of matrices, and the place of the queries among their inputs
ATTENTION = {
    "aten::_scaled_dot_product_flash_attention_for_cpu": (2, 0),
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": (5, 1),
}
PRODUCTS = {"aten::addmm", "aten::addmm_", "aten::mm", "aten::bmm", *ATTENTION}  # of matrices
# By memory-bound kernel: how many tensors of the size of its images it reads and writes; norms: see `passes`
PASSES = {
    "aten::native_batch_norm": 2,
    "aten::native_batch_norm_backward": 3,
    "aten::batch_norm_update_stats": 1,
    "aten::threshold_backward": 3,
    "aten::hardtanh_backward": 3,
    "aten::clamp_min": 2,
    "aten::clamp_min_": 2,
    "aten::clamp": 2,
    "aten::clamp_": 2,
    "aten::hardtanh": 2,
    "aten::hardtanh_": 2,
    "aten::relu": 2,
    "aten::relu_": 2,
    "aten::leaky_relu": 2,
    "aten::leaky_relu_": 2,
    "aten::leaky_relu_backward": 3,
    "aten::tanh": 2,
    "aten::tanh_": 2,
    "aten::tanh_backward": 3,
    "aten::silu": 2,
    "aten::silu_": 2,
    "aten::silu_backward": 3,
    "aten::addcmul": 2,
    "aten::addcmul_": 3,
    "aten::add_": 3,
    "aten::copy_": 2,
    "aten::cat": 2,
    "aten::add": 3,
    "aten::mul": 3,
    "aten::gelu": 2,
    "aten::gelu_": 2,
    "aten::gelu_backward": 3,
    "aten::native_layer_norm": 2,
    "aten::native_layer_norm_backward": 3,
}


@dataclass
class Kernels:
    """The kernels of a step.

    times: the microseconds of each kernel, without the kernels that it calls. moved: the bytes that memory-bound
    kernels read and write. forward, backward, products: the floating-point operations of convolutions, forward and
    backward, and of products of matrices.
    """

    times: Counter[str] = field(default_factory=Counter[str])
    moved: float = 0.0
    forward: float = 0.0
    backward: float = 0.0
    products: float = 0.0

    @property
    def total(self) -> float:
        """The microseconds of all kernels."""
        return self.times.total()

    def time_of(self, names: Iterable[str]) -> float:
        """Return the microseconds of the kernels of these names."""
        return sum(self.times[name] for name in names)

    def add(self, events: Iterable[Any], weight: float) -> None:
        """Add events of the profiler, which were recorded with shapes; weight: multiplies all that is added."""
        for event in events:
            name, sizes = event.name, event.input_shapes or []
            self.times[name] += event.self_cpu_time_total * weight
            if name in PASSES and not _is_part(event):
                self.moved += 4 * passes(name, event.concrete_inputs) * max(map(prod, sizes), default=0) * weight
            elif name in FORWARD:
                self.forward += forward_flops(name, sizes, event.concrete_inputs) * weight
            elif name in BACKWARD:
                self.backward += backward_flops(sizes, event.concrete_inputs) * weight
            elif name in PRODUCTS:
                self.products += product_flops(name, sizes) * weight


def _is_part(event: Any) -> bool:
    """Return whether another memory-bound kernel calls this one, as `hardtanh_` calls `clamp`: its bytes count once."""
    caller = event.cpu_parent
    while caller is not None and caller.name not in PASSES:
        caller = caller.cpu_parent
    return caller is not None


def passes(kernel: str, arguments: Sequence[Any]) -> int:
    """Return how many tensors of the size of its images a kernel of PASSES reads and writes.

    In training, a norm reads its inputs once more for the statistics, or for the sums of its gradients; without dx, its
    backward pass only reads them.
    """
    if kernel == "aten::native_batch_norm":
        return PASSES[kernel] + bool(arguments[5])
    if kernel == "aten::native_batch_norm_backward":
        needs_dx, *_ = arguments[9]
        return (PASSES[kernel] + 2 * bool(arguments[7])) if needs_dx else 2
    return PASSES[kernel]


def forward_flops(kernel: str, sizes: Sequence[Sequence[int]], arguments: Sequence[Any]) -> float:
    """Return the floating-point operations of a kernel of FORWARD; sizes, arguments: of its inputs."""
    x, weight, *others = (size for size in sizes if len(size) == 4)
    if kernel == "aten::_convolution":  # calls another kernel unless it is transposed
        return 2.0 * prod(x) * prod(weight[1:]) if arguments[6] else 0.0
    if others:  # with a sum: the weight is the third tensor, and the one before has the size of the outputs
        output = x if kernel.endswith("_") else weight
        return 2.0 * prod(output) * prod(others[0][1:])
    numbers = [value for value in arguments if isinstance(value, list) and len(value) == 2]
    if kernel == "aten::_slow_conv2d_forward":
        _, stride, padding = numbers
        dilation = [1, 1]
    else:
        padding, stride, dilation = numbers[:3]
    sides = zip(x[2:], weight[2:], padding, stride, dilation, strict=True)
    output_sides = [(side + 2 * pad - step * (width - 1) - 1) // jump + 1 for side, width, pad, jump, step in sides]
    return 2.0 * x[0] * prod(output_sides) * prod(weight)


def backward_flops(sizes: Sequence[Sequence[int]], arguments: Sequence[Any]) -> float:
    """Return the floating-point operations of `aten::convolution_backward`: as many for dx as for the weights."""
    dy, x, weight = sizes[:3]
    is_transposed, (needs_dx, needs_weight, _) = arguments[7], arguments[10]
    return 2.0 * prod(x if is_transposed else dy) * prod(weight[1:]) * (needs_dx + needs_weight)


def product_flops(kernel: str, sizes: Sequence[Sequence[int]]) -> float:
    """Return the floating-point operations of a kernel of PRODUCTS; sizes: of its inputs.

    Attention consists of two products, and its backward pass of five.
    """
    matrices = [size for size in sizes if len(size) >= 2]
    if kernel in ATTENTION:
        products, place = ATTENTION[kernel]
        query, key = matrices[place : place + 2]
        return products * 2 * prod(query) * key[2]
    return 2 * prod(matrices[-2]) * matrices[-1][-1]
