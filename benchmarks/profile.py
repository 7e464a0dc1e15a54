"""Compare the kernels of a step with what the machine can reach, and write docs/profile.md and profile.json.

Run it by `python -m benchmarks.profile`. What kernels compute and move: benchmarks/kernels.py.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.profiler import profile

from benchmarks.jobs import JOBS
from benchmarks.kernels import BACKWARD, FORWARD, PASSES, PRODUCTS, Kernels
from benchmarks.peers import onnxruntime_peer, pellucid_peer, torch_peer
from benchmarks.run import PAUSE_SECONDS, rotated
from benchmarks.table import DOCS, conditions
from pellucid.base.allocator import keeping_freed_memory

PAGE, RESULTS = DOCS / "profile.md", DOCS / "profile.json"
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
{slices} slices of {slice_seconds:g} seconds of each job of the [benchmarks](benchmarks.md), channels-last; PyTorch is
its in-place form, if it has one. The peers take turns. The times include the overhead of the profiler. Those of PyTorch
and onnxruntime, the speeds, and the kernels that take longest are in [profile.json](profile.json).

The shares are of Pellucid's time in kernels: **convolutions**; **memory-bound** norms, activations, sums and copies;
matrix **products**; the **rest**, such as pooling. **Reachable** is the mean speed of a product of two matrices of
{size:,} x {size:,} in the same slices, the limit of convolutions but for algorithms with fewer operations; **reached**
is that of the forward convolutions. **Ratio** is PyTorch's time in kernels divided by Pellucid's. **At most** is the
ratio that Pellucid would have with these convolutions and products, if its memory-bound kernels moved their bytes at
the speed of a copy ({bandwidth:.1f} GB/s), or at their own where that is higher, and the rest took no time at all. A
target above it needs other convolutions or fewer passes over memory.

| job | convolutions | reached, GFLOP/s | reachable | memory-bound | products | rest | ratio | at most |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
"""
UNIT = " GFLOP/s"
COLUMNS = ("step", "convolutions", "forward", "backward", "memory-bound", "bandwidth", "products", "speed", "rest")


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


def cells(seconds: float, kernels: Kernels) -> dict[str, str]:
    """Return the figures of a peer whose kernels are known, as text; seconds: of a step."""
    forward, backward, memory, products = (kernels.time_of(names) for names in (FORWARD, BACKWARD, PASSES, PRODUCTS))
    values = (
        milliseconds(seconds),
        share(forward + backward, kernels.total),
        speed(kernels.forward, forward),
        speed(kernels.backward, backward),
        share(memory, kernels.total),
        f"{kernels.moved / memory / 1e3:.1f} GB/s" if memory else "-",
        share(products, kernels.total),
        speed(kernels.products, products),
        share(kernels.total - forward - backward - memory - products, kernels.total),
    )
    return dict(zip(COLUMNS, values, strict=True))


def milliseconds(seconds: float) -> str:
    """Return a duration as text."""
    return f"{1e3 * seconds:,.2f} ms"


def ratio_and_limit(ours: Kernels, theirs: Kernels, bandwidth: float) -> list[str]:
    """Return the cells "ratio" and "at most"; bandwidth: of a copy, in bytes per second."""
    memory = ours.time_of(PASSES)
    least = ours.time_of({*FORWARD, *BACKWARD, *PRODUCTS}) + min(memory, ours.moved / bandwidth * 1e6)
    return [f"{theirs.total / time:.2f}" for time in (ours.total, least)]


def speed(flops: float, micros: float) -> str:
    """Return the speed of some kernels, or "-" if there are none."""
    return f"{flops / micros / 1e3:,.0f}{UNIT}" if flops and micros else "-"


def share(micros: float, total: float) -> str:
    """Return a part of the time of a step, in milliseconds and percent."""
    return f"{micros / 1e3:,.2f} ms ({micros / total:.0%})"


def longest(ours: Kernels, theirs: Kernels) -> dict[str, dict[str, int]]:
    """Return the microseconds of the kernels of a step that take longest, and of all, for each peer."""
    times = {kernel: (ours.times[kernel], theirs.times[kernel]) for kernel in ours.times | theirs.times}
    shown = sorted(times, key=lambda kernel: -max(times[kernel]))[:MAX_KERNELS]
    rows = {kernel: times[kernel] for kernel in shown} | {"all": (ours.total, theirs.total)}
    return {name: {"Pellucid": round(own), "PyTorch": round(other)} for name, (own, other) in rows.items()}


def page(results: Mapping[str, Any]) -> str:
    """Return the page of the results, as they are in docs/profile.json."""
    text = HEAD.format(**results["settings"])
    for name, job in results["jobs"].items():
        ours = job["peers"]["Pellucid"]
        shares = {
            key: ours[key].partition("(")[2].rstrip(")") for key in ("convolutions", "memory-bound", "products", "rest")
        }
        row = (
            name,
            shares["convolutions"],
            ours["forward"].removesuffix(UNIT),
            job["reachable"].removesuffix(UNIT),
            shares["memory-bound"],
            shares["products"],
            shares["rest"],
            job["ratio"],
            job["at most"],
        )
        text += f"| {' | '.join(row)} |\n"
    return f"{text}\nMeasured {results['measured']}.\n"


def profiled(name: str, bandwidth: float) -> dict[str, Any]:
    """Return the figures of one job; bandwidth: of a copy, in bytes per second."""
    job = JOBS[name]
    runs = {
        "Pellucid": pellucid_peer.make(job),
        "PyTorch": torch_peer.make(job, channels_last=True, inplace=True, compiled=False),
    }
    if job.inference and not job.network.startswith("opened-"):
        runs["onnxruntime"] = onnxruntime_peer.make(job)
    kernels, reachable, seconds = kernels_in_turn(runs)
    peers = {peer: cells(seconds[peer], kernels[peer]) for peer in ("Pellucid", "PyTorch")}
    if "onnxruntime" in runs:  # the profiler does not see its kernels, which are at least this fast
        convolutions = speed(kernels["PyTorch"].forward, 1e6 * seconds["onnxruntime"])
        peers["onnxruntime"] = {"step": milliseconds(seconds["onnxruntime"]), "forward": convolutions}
    ratio, limit = ratio_and_limit(kernels["Pellucid"], kernels["PyTorch"], bandwidth)
    return {
        "reachable": f"{reachable / 1e9:,.0f}{UNIT}",
        "ratio": ratio,
        "at most": limit,
        "peers": peers,
        "microseconds": longest(kernels["Pellucid"], kernels["PyTorch"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", nargs="*", choices=JOBS, default=PROFILED, metavar="JOB")
    names = parser.parse_args().jobs
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    jobs: dict[str, Any] = {}
    with keeping_freed_memory():
        bandwidth = copy_speed()
        for name in names:
            jobs[name] = profiled(name, bandwidth)
            print(f"{name}: profiled", flush=True)
    settings = {
        "threads": threads,
        "slices": SLICES,
        "slice_seconds": SLICE_SECONDS,
        "size": MATRIX_SIZE,
        "bandwidth": round(bandwidth / 1e9, 1),
    }
    results = {"measured": conditions(), "settings": settings, "jobs": jobs}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(results), encoding="utf-8")
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
