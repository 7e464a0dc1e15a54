"""Compare the kernels of a step with what the machine can reach, and write docs/profile.md.

Run it by `python -m benchmarks.profile`. What kernels compute and move: benchmarks/kernels.py.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch.profiler import profile

from benchmarks.jobs import JOBS
from benchmarks.kernels import BACKWARD, FORWARD, PASSES, PRODUCTS, Kernels
from benchmarks.peers import onnxruntime_peer, pellucid_peer, torch_peer
from benchmarks.run import PAUSE_SECONDS, rotated
from benchmarks.table import DOCS, conditions
from pellucid.base.allocator import keeping_freed_memory

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
    "detect-single_stage",
    "detect-ssd",
    "detect-yolo3",
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

HEAD = """# Where the time goes

Written by `make bench` (`python -m benchmarks.profile`), with {threads} threads. PyTorch's profiler runs over
{slices} slices of {seconds:g} seconds of each job of the [benchmarks](benchmarks.md), channels-last; PyTorch is its
in-place form, if it has one. The peers take turns, since the machine's speed changes. The times include the overhead of
the profiler.

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
    kernels, seconds = {peer: Kernels() for peer in runs}, dict.fromkeys(runs, 0.0)
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
            kernels[peer].add(profiler.events() or (), weight)
    return kernels, statistics.mean(speeds), seconds


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


def row(start: Sequence[str], kernels: Kernels, ratios: Sequence[str]) -> str:
    """Return the row of the first table for one job and a peer whose kernels are known; start: its first cells."""
    forward, backward, memory, products = (kernels.time_of(names) for names in (FORWARD, BACKWARD, PASSES, PRODUCTS))
    cells = [
        share(forward + backward, kernels.total),
        speed(kernels.forward, forward),
        speed(kernels.backward, backward),
        share(memory, kernels.total),
        f"{kernels.moved / memory / 1e3:.1f} GB/s" if memory else "-",
        share(products, kernels.total),
        speed(kernels.products, products),
        share(kernels.total - forward - backward - memory - products, kernels.total),
    ]
    return f"| {' | '.join([*start, *cells, *ratios])} |\n"


def ratio_and_limit(ours: Kernels, theirs: Kernels, bandwidth: float) -> list[str]:
    """Return the cells "ratio" and "at most"; bandwidth: of a copy, in bytes per second."""
    memory = ours.time_of(PASSES)
    least = ours.time_of({*FORWARD, *BACKWARD, *PRODUCTS}) + min(memory, ours.moved / bandwidth * 1e6)
    return [f"{theirs.total / time:.2f}" for time in (ours.total, least)]


def speed(flops: float, micros: float) -> str:
    """Return the speed of some kernels, or "-" if there are none."""
    return f"{flops / micros / 1e3:,.0f} GFLOP/s" if flops and micros else "-"


def share(micros: float, total: float) -> str:
    """Return a part of the time of a step, in milliseconds and percent."""
    return f"{micros / 1e3:,.2f} ms ({micros / total:.0%})"


def table(name: str, ours: Kernels, theirs: Kernels) -> str:
    """Return the section of one job: the microseconds of the kernels that take longest."""
    times = {kernel: (ours.times[kernel], theirs.times[kernel]) for kernel in ours.times | theirs.times}
    longest = sorted(times, key=lambda kernel: -max(times[kernel]))[:MAX_KERNELS]
    lines = [f"## {name}", "", "Microseconds of a step, in the kernels themselves.", ""]
    lines += ["| kernel | Pellucid | PyTorch |", "|---|---:|---:|"]
    rows = [*((f"`{kernel}`", times[kernel]) for kernel in longest), ("all", (ours.total, theirs.total))]
    lines += [f"| {name} | {own:,.0f} | {other:,.0f} |" for name, (own, other) in rows]
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
            ratios = ratio_and_limit(kernels["Pellucid"], kernels["PyTorch"], bandwidth)
            for peer in runs:
                start = [name, f"{reachable / 1e9:,.0f} GFLOP/s", peer, f"{1e3 * seconds[peer]:,.2f} ms"]
                if peer == "onnxruntime":
                    convolutions = speed(kernels["PyTorch"].forward, 1e6 * seconds[peer])
                    rows += f"| {' | '.join([*start, '-', convolutions, *['-'] * 8])} |\n"
                else:
                    rows += row(start, kernels[peer], ratios if peer == "Pellucid" else ["1", "-"])
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
