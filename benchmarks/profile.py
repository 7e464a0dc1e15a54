"""Measure the time of each kernel in a step: `python -m benchmarks.profile JOB ...` writes docs/profile.md."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import profile

from benchmarks.jobs import JOBS, Job
from benchmarks.peers import pellucid_peer, torch_peer

PAGE = Path(__file__).resolve().parent.parent / "docs" / "profile.md"
MAX_KERNELS = 10
HEAD = """# Where the time goes

Written by `python -m benchmarks.profile {jobs}`: PyTorch's profiler over {steps}, {threads} threads,
channels-last. The table lists the microseconds per step that are spent in each kernel itself, including the overhead of
the profiler. Pellucid and PyTorch spend about the same time in the same convolution and pooling kernels, which limits
how many times faster than PyTorch Pellucid can be; the last line gives this limit.
"""


def kernel_times(run: Callable[[int], None], steps: int) -> dict[str, float]:
    """Return the microseconds per step that are spent in each kernel itself."""
    run(5)
    with profile() as profiler:
        run(steps)
    return {row.key: row.self_cpu_time_total / steps for row in profiler.key_averages()}


def section(name: str, job: Job) -> str:
    steps = 20 * job.steps
    ours = kernel_times(pellucid_peer.make(job), steps)
    theirs = kernel_times(torch_peer.make(job, channels_last=True, inplace=False), steps)
    names = sorted({*ours, *theirs}, key=lambda key: -max(ours.get(key, 0.0), theirs.get(key, 0.0)))
    shared_kernels = [key for key in names if "convolution" in key or "pool" in key]
    lines = [f"## {name}", "", "| kernel | Pellucid | PyTorch |", "|---|---:|---:|"]
    lines += [f"| `{key}` | {ours.get(key, 0):,.0f} | {theirs.get(key, 0):,.0f} |" for key in names[:MAX_KERNELS]]
    our_shared, their_shared = (sum(times[key] for key in shared_kernels if key in times) for times in (ours, theirs))
    lines += [
        f"| convolutions and pooling | {our_shared:,.0f} | {their_shared:,.0f} |",
        f"| all | {sum(ours.values()):,.0f} | {sum(theirs.values()):,.0f} |",
        "",
        "If Pellucid computed only convolutions and pooling, PyTorch's time would be "
        f"{sum(theirs.values()) / our_shared:.2f} times Pellucid's.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", nargs="+", choices=JOBS, metavar="JOB")
    jobs = parser.parse_args().jobs
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    head = HEAD.format(jobs=" ".join(jobs), steps="20 bursts of the benchmark", threads=threads)
    PAGE.write_text("\n".join([head, *(section(name, JOBS[name]) for name in jobs)]), encoding="utf-8")
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
