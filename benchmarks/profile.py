"""Compare the kernels of a step with what the machine can reach, and write docs/profile.md.

Run it by `python -m benchmarks.profile`.
"""

import argparse
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.profiler import profile

from benchmarks.jobs import GENERATORS, JOBS, Job
from benchmarks.peers import onnxruntime_peer, pellucid_peer, torch_peer
from benchmarks.run import PAUSE_SECONDS, rotated
from benchmarks.table import DOCS, conditions
from pellucid.allocator import keeping_freed_memory
from pellucid.network.summary import summary

PAGE = DOCS / "profile.md"
PROFILED = (
    "lenet-64",
    "resnet20-16",
    "resnet20-64",
    "vgg16",
    "resnet50",
    "densenet121",
    "mobilenet_v2",
    "fcn8",
    "pix2pix",
    "dcgan",
    "lenet-1-inference",
    "lenet-256-inference",
    "resnet20-16-inference",
    "vgg16-inference",
    "densenet121-inference",
    "resnet50-1-inference",
    "resnet50-inference",
    "mobilenet_v2-1-inference",
    "mobilenet_v2-inference",
    "opened-vit_b16",
    "opened-resnet18-inference",
    "opened-convnext_tiny-inference",
    "opened-efficientnet_b0-inference",
    "opened-vit_b16-inference",
)
MAX_KERNELS = 8
SLICES = 6  # of a job: the peers take turns
SLICE_SECONDS = 0.6  # of the steps of one peer in a slice, about; at least one step
MATRIX_SIZE = 1_024  # of the product that shows the reachable speed

FORWARD = {
    "aten::mkldnn_convolution",
    "aten::_convolution",  # transposed convolutions
    "aten::_slow_conv2d_forward",
    "mkldnn::_convolution_pointwise",
}
BACKWARD = {"aten::convolution_backward"}
# Kernels of attention: the number of their products of matrices, and the place of the queries among their inputs
ATTENTION = {
    "aten::_scaled_dot_product_flash_attention_for_cpu": (2, 0),
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": (5, 1),
}
PRODUCTS = {"aten::addmm", "aten::addmm_", "aten::mm", "aten::bmm", *ATTENTION}  # of matrices
# By kernel: how many tensors of the size of its images it reads and writes. Statistics and gradients of a norm need one
# pass over their inputs, and its outputs another.
PASSES = {
    "aten::native_batch_norm": 3,
    "aten::native_batch_norm_backward": 5,
    "aten::batch_norm_update_stats": 1,
    "aten::threshold_backward": 3,
    "aten::hardtanh_backward": 3,
    "aten::clamp_min_": 2,
    "aten::clamp": 2,
    "aten::clamp_": 2,
    "aten::hardtanh_": 2,
    "aten::relu": 2,
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
HEAD = """# Where the time goes

Written by `make bench` (`python -m benchmarks.profile`), with {threads} threads. PyTorch's profiler runs over
{slices} slices of {seconds:g} seconds of each job of the [benchmarks](benchmarks.md), channels-last; PyTorch is its
in-place form. The peers take turns, since the machine's speed changes. The times include the overhead of the profiler.

**Reachable**: the mean speed of a product of two matrices of {size:,} x {size:,} in the same slices, the limit of
convolutions but for algorithms with fewer operations, such as Winograd's. **Convolutions**: their share of the time,
and their multiplications and additions by the time in their kernels, forward and backward. For onnxruntime, whose
kernels the profiler does not see, they are divided by its whole time: its kernels are at least that fast.
**Memory-bound**: the share of norms, activations, sums and copies, and the bytes that they read and write by their
time; a copy between two tensors in main memory reaches {bandwidth:.1f} GB/s, and tensors in a cache are read faster.
**Products**: the share of matrix products, in dense layers and attention, and their operations by their time. **Rest**:
all other kernels, such as pooling, and the overhead of each.

Where Pellucid and PyTorch run the same convolutions at the same speed, near the limit, only the other columns can make
one faster than the other. **Ratio**: PyTorch's time in kernels divided by Pellucid's. **At most**: the ratio that
Pellucid would have with these convolutions and products, if its memory-bound kernels moved their bytes at the speed of
a copy, or at their own where that is higher, and the rest took no time at all. A target above it needs other
convolutions or fewer passes over memory.

Measured {measured}.

| job | reachable | peer | step | convolutions | forward | backward | memory-bound | speed | products | speed | rest \
| ratio | at most |
|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
"""


@dataclass(frozen=True)
class Kernels:
    """The microseconds of each kernel in a step.

    moved: the bytes that memory-bound kernels read and write. product_flops: the floating-point operations of products.
    """

    times: Counter[str]
    moved: float
    product_flops: float


def kernels_in_turn(runs: Mapping[str, Callable[[int], None]]) -> tuple[dict[str, Kernels], float, dict[str, float]]:
    """Return the kernels of one step of each peer, the reachable FLOP/s, and each peer's seconds per step.

    The kernels are those of PyTorch's profiler, as means over the slices. The seconds contain the profiler's work.
    """
    steps: dict[str, int] = {}
    for peer, run in runs.items():
        run(2)
        start = time.perf_counter()
        run(1)
        steps[peer] = max(1, min(400, int(SLICE_SECONDS / (time.perf_counter() - start))))
    times: dict[str, Counter[str]] = {peer: Counter() for peer in runs}
    moved, flops, seconds = (dict.fromkeys(runs, 0.0) for _ in range(3))
    speeds: list[float] = []
    for index in range(SLICES):
        speeds.append(matmul_speed())
        for peer in rotated([*runs], index):
            run = runs[peer]
            time.sleep(PAUSE_SECONDS)
            run(1)  # what was evicted from the caches is read again
            weight = 1 / (steps[peer] * SLICES)
            with profile(record_shapes=True) as profiler:
                start = time.perf_counter()
                run(steps[peer])
                seconds[peer] += (time.perf_counter() - start) * weight
            for event in profiler.events() or ():
                times[peer][event.name] += event.self_cpu_time_total * weight
                sizes: list[Any] = event.input_shapes or []
                if event.name in PASSES:
                    moved[peer] += PASSES[event.name] * 4 * max(map(prod, sizes), default=0) * weight
                if event.name in PRODUCTS:
                    flops[peer] += product_flops(event.name, sizes) * weight
    kernels = {peer: Kernels(times[peer], moved[peer], flops[peer]) for peer in runs}
    return kernels, statistics.mean(speeds), seconds


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


def convolution_flops(job: Job) -> tuple[float, float]:
    """Return the floating-point operations of the convolutions of a step, forward and backward.

    The backward pass needs as many for the gradient of the weights, and for that of the input, except in the first
    convolution. Returns 0 for generators and opened networks.
    """
    if job.network in GENERATORS or job.network.startswith("opened-"):
        return 0.0, 0.0
    net = pellucid_peer.network(job)
    params, _ = net.init(job.shape, torch.Generator().manual_seed(0))
    rows = [row for row in summary(net, params, job.shape).rows if row.layer.startswith("Conv2d")]
    per_layer = [2.0 * job.batch * (row.multiply_adds or 0) for row in rows]
    return sum(per_layer), 0.0 if job.inference else 2 * sum(per_layer) - per_layer[0]


def matmul_speed() -> float:
    """Return the floating-point operations per second of some products of two square matrices."""
    a, b = torch.rand(2, MATRIX_SIZE, MATRIX_SIZE)
    torch.mm(a, b)
    calls, start = 20, time.perf_counter()
    for _ in range(calls):
        torch.mm(a, b)
    return calls * 2 * MATRIX_SIZE**3 / (time.perf_counter() - start)


def copy_speed() -> float:
    """Return the bytes per second that a copy of 256 MiB reads and writes, in the shortest of ten calls."""
    source, target = torch.rand(64 << 20), torch.rand(64 << 20)
    times = []
    for _ in range(11):
        start = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - start)
    return 8 * source.numel() / min(times)


def row(start: Sequence[str], kernels: Kernels, flops: tuple[float, float], ratios: Sequence[str]) -> str:
    """Return the row of the first table for one job and a peer whose kernels are known; start: its first cells."""
    forward, backward, memory, products = parts(kernels)
    speeds = [
        f"{work / micros / 1e3:,.0f} GFLOP/s" if work and micros else "-"
        for work, micros in zip(flops, (forward, backward), strict=True)
    ]
    total = kernels.times.total()
    cells = [
        share(forward + backward, total),
        *speeds,
        share(memory, total),
        f"{kernels.moved / memory / 1e3:.1f} GB/s" if memory else "-",
        share(products, total),
        f"{kernels.product_flops / products / 1e3:,.0f} GFLOP/s" if products else "-",
        share(total - forward - backward - memory - products, total),
    ]
    return f"| {' | '.join([*start, *cells, *ratios])} |\n"


def parts(kernels: Kernels) -> tuple[float, float, float, float]:
    """Return the microseconds of convolutions, forward and backward, memory-bound kernels, and matrix products."""
    forward, backward, memory, products = (
        sum(kernels.times[kernel] for kernel in names) for names in (FORWARD, BACKWARD, set(PASSES), PRODUCTS)
    )
    return forward, backward, memory, products


def ratio_and_limit(ours: Kernels, theirs: Kernels, bandwidth: float) -> list[str]:
    """Return the cells "ratio" and "at most"; bandwidth: of a copy, in bytes per second."""
    forward, backward, memory, products = parts(ours)
    least = forward + backward + products + min(memory, ours.moved / bandwidth * 1e6)
    return [f"{theirs.times.total() / time:.2f}" for time in (ours.times.total(), least)]


def share(micros: float, total: float) -> str:
    """Return a part of the time of a step, in milliseconds and percent."""
    return f"{micros / 1e3:,.2f} ms ({micros / total:.0%})"


def table(name: str, ours: Kernels, theirs: Kernels) -> str:
    """Return the section of one job: the microseconds of the kernels that take longest."""
    names = sorted({*ours.times, *theirs.times}, key=lambda kernel: -max(ours.times[kernel], theirs.times[kernel]))
    lines = [f"## {name}", "", "Microseconds of a step, in the kernels themselves.", ""]
    lines += ["| kernel | Pellucid | PyTorch |", "|---|---:|---:|"]
    lines += [
        f"| `{kernel}` | {ours.times[kernel]:,.0f} | {theirs.times[kernel]:,.0f} |" for kernel in names[:MAX_KERNELS]
    ]
    lines.append(f"| all | {ours.times.total():,.0f} | {theirs.times.total():,.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", nargs="*", choices=JOBS, default=PROFILED, metavar="JOB")
    names = parser.parse_args().jobs
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    rows, sections = "", []
    with keeping_freed_memory():
        bandwidth = copy_speed()
        for name in names:
            job = JOBS[name]
            runs = {
                "Pellucid": pellucid_peer.make(job),
                "PyTorch": torch_peer.make(job, channels_last=True, inplace=True, compiled=False),
            }
            if job.inference and not job.network.startswith("opened-"):
                runs["onnxruntime"] = onnxruntime_peer.make(job)
            kernels, reachable, seconds = kernels_in_turn(runs)
            flops = convolution_flops(job)
            ratios = ratio_and_limit(kernels["Pellucid"], kernels["PyTorch"], bandwidth)
            for peer in runs:
                start = [name, f"{reachable / 1e9:,.0f} GFLOP/s", peer, f"{1e3 * seconds[peer]:,.2f} ms"]
                if peer == "onnxruntime":
                    speed = f"{flops[0] / seconds[peer] / 1e9:,.0f} GFLOP/s"
                    rows += f"| {' | '.join([*start, '-', speed, *['-'] * 8])} |\n"
                else:
                    rows += row(start, kernels[peer], flops, ratios if peer == "Pellucid" else ["1", "-"])
            sections.append(table(name, kernels["Pellucid"], kernels["PyTorch"]))
            print(f"{name}: profiled", flush=True)
    head = HEAD.format(
        threads=threads,
        measured=conditions(),
        slices=SLICES,
        seconds=SLICE_SECONDS,
        size=MATRIX_SIZE,
        bandwidth=bandwidth / 1e9,
    )
    PAGE.write_text("\n".join([head + rows, *sections]), encoding="utf-8")
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
