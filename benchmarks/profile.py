"""Compare the kernels of a step with what the machine can reach, and write docs/profile.md.

Run it by `python -m benchmarks.profile`.
"""

import argparse
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.profiler import profile

from benchmarks.jobs import JOBS, Job
from benchmarks.peers import pellucid_peer, torch_peer
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
    "lenet-1-inference",
    "lenet-256-inference",
    "resnet20-16-inference",
    "resnet50-1-inference",
    "resnet50-inference",
    "mobilenet_v2-1-inference",
    "mobilenet_v2-inference",
)
MAX_KERNELS = 8
PROFILED_SECONDS = 3.0  # of the steps of one peer, about

FORWARD = {"aten::mkldnn_convolution", "aten::_slow_conv2d_forward", "mkldnn::_convolution_pointwise"}
BACKWARD = {"aten::convolution_backward"}
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
}
HEAD = """# Where the time goes

Written by `make bench` (`python -m benchmarks.profile`), with {threads} threads. PyTorch's profiler runs over
{seconds:g} seconds of each job of the [benchmarks](benchmarks.md), channels-last; PyTorch is its in-place form. The
times include the overhead of the profiler.

The machine's limits, measured at the same time: a product of two large matrices reaches {flops:,.0f} GFLOP/s, and a
copy between two tensors in main memory {bandwidth:.1f} GB/s; tensors in a cache are read faster. **Convolutions**:
their share of the time, and their multiplications and additions by the time in their kernels, forward and backward.
**Memory-bound**: the share of norms, activations, sums and copies, and the bytes that they read and write by their
time. **Rest**: all other kernels, such as pooling and dense layers, and the overhead of each.

Where Pellucid and PyTorch run the same convolutions at the same speed, near the limit, only the other columns can make
one faster than the other.

Measured {measured}.

| job | peer | convolutions | forward | backward | memory-bound | speed | rest |
|---|---|---:|---:|---:|---:|---:|---:|
"""


@dataclass(frozen=True)
class Kernels:
    """The microseconds of each kernel in a step, and the bytes that memory-bound kernels read and write in a step."""

    times: Counter[str]
    moved: float


def kernels_of(run: Callable[[int], None]) -> Kernels:
    """Return the kernels of one step, as the mean over some seconds of steps."""
    run(2)
    start = time.perf_counter()
    run(1)
    steps = max(1, min(2000, int(PROFILED_SECONDS / (time.perf_counter() - start))))
    with profile(record_shapes=True) as profiler:
        run(steps)
    times: Counter[str] = Counter()
    moved = 0.0
    for event in profiler.events() or ():
        times[event.name] += event.self_cpu_time_total / steps
        if event.name in PASSES:
            sizes: list[Any] = event.input_shapes or []
            moved += PASSES[event.name] * 4 * max((prod(size) for size in sizes if len(size) == 4), default=0) / steps
    return Kernels(times, moved)


def convolution_flops(job: Job) -> tuple[float, float]:
    """Return the floating-point operations of the convolutions of a step, forward and backward.

    The backward pass needs as many for the gradient of the weights, and for that of the input, except in the first
    convolution.
    """
    net = pellucid_peer.network(job)
    params, _ = net.init(job.shape, torch.Generator().manual_seed(0))
    rows = [row for row in summary(net, params, job.shape).rows if row.layer.startswith("Conv2d")]
    per_layer = [2.0 * job.batch * (row.multiply_adds or 0) for row in rows]
    return sum(per_layer), 0.0 if job.inference else 2 * sum(per_layer) - per_layer[0]


def matmul_speed() -> float:
    """Return the floating-point operations per second of the fastest product of two square matrices."""
    speeds = []
    for size in (512, 1024, 2048):
        a, b = torch.rand(2, size, size)
        speeds.append(2 * size**3 / shortest(lambda a=a, b=b: torch.mm(a, b)))
    return max(speeds)


def copy_speed() -> float:
    """Return the bytes per second that a copy of 256 MiB reads and writes."""
    source, target = torch.rand(64 << 20), torch.rand(64 << 20)
    return 8 * source.numel() / shortest(lambda: target.copy_(source))


def shortest(work: Callable[[], object]) -> float:
    """Return the shortest time of ten calls after one, in seconds."""
    work()
    times = []
    for _ in range(10):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def row(name: str, peer: str, kernels: Kernels, flops: tuple[float, float]) -> str:
    """Return the row of the first table for one job and peer."""
    forward, backward, memory = (
        sum(kernels.times[kernel] for kernel in names) for names in (FORWARD, BACKWARD, set(PASSES))
    )
    total = kernels.times.total()
    speeds = [
        f"{work / micros / 1e3:,.0f} GFLOP/s" if work and micros else "-"
        for work, micros in zip(flops, (forward, backward), strict=True)
    ]
    cells = [
        share(forward + backward, total),
        *speeds,
        share(memory, total),
        f"{kernels.moved / memory / 1e3:.1f} GB/s" if memory else "-",
        share(total - forward - backward - memory, total),
    ]
    return f"| {name} | {peer} | {' | '.join(cells)} |\n"


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
        limits = {"flops": matmul_speed() / 1e9, "bandwidth": copy_speed() / 1e9}
        for name in names:
            job = JOBS[name]
            ours = kernels_of(pellucid_peer.make(job))
            theirs = kernels_of(torch_peer.make(job, channels_last=True, inplace=True, compiled=False))
            flops = convolution_flops(job)
            for peer, kernels in (("Pellucid", ours), ("PyTorch", theirs)):
                rows += row(name, peer, kernels, flops)
            sections.append(table(name, ours, theirs))
            print(f"{name}: profiled", flush=True)
    head = HEAD.format(threads=threads, measured=conditions(), seconds=PROFILED_SECONDS, **limits)
    PAGE.write_text("\n".join([head + rows, *sections]), encoding="utf-8")
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
