"""A process that runs one job of one peer: `python -m benchmarks.worker PEER JOB THREADS`.

It reads orders from standard input and prints one number for each. A number of steps: runs the steps, and prints their
seconds. `memory`: prints the peak resident memory of a few steps minus the memory before the first step, in bytes.
`tensors`: prints the peak memory of PyTorch's tensors during a step without parameters and data, in bytes, or 0 for
peers that are not built on PyTorch.
"""

import importlib
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.jobs import Job, find
from pellucid.base.allocator import keeping_freed_memory

ALLOCATOR_SETTING = ExitStack()

VARIANTS = {  # name: (channels-last, in place, compiled)
    "torch": (True, False, False),
    "torch-nchw": (False, False, False),
    "torch-inplace": (True, True, False),
    "torch-inplace-nchw": (False, True, False),
    "torch-compile": (True, False, True),
    "torch-compile-nchw": (False, False, True),
    "torch-float32": (True, False, False),  # in float32, for a job in bfloat16
}


def make(peer: str, job: Job) -> Callable[[int], None]:
    if peer in VARIANTS:
        from benchmarks.peers import torch_peer

        job = replace(job, precision="float32") if peer == "torch-float32" else job
        return torch_peer.make(job, *VARIANTS[peer])
    if peer == "pellucid":
        sys.modules["onnxruntime"] = None  # type: ignore[assignment]  # it cannot be imported
    module = importlib.import_module(f"benchmarks.peers.{peer}_peer")
    run: Callable[[int], None] = module.make(job)
    return run


def status_bytes(field: str) -> int:
    """Return a field of /proc/self/status, such as VmRSS, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"this kernel reports no {field}")


def tensor_peak(run: Callable[[int], None]) -> float:
    """Return the peak bytes of the tensors that are allocated during one step."""
    from torch.profiler import profile

    run(1)
    with profile(profile_memory=True) as profiler:
        run(1)
    assert profiler.profiler is not None
    changes = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    current = peak = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        current += change.nbytes()
        peak = max(peak, current)
    return float(peak)


def main() -> None:
    peer, name, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    job = find(name)
    torch.set_num_threads(threads)
    ALLOCATOR_SETTING.enter_context(keeping_freed_memory())  # every peer has the setting of `fit` and predictors
    run = make(peer, job)
    resident_before = status_bytes("VmRSS")
    for line in sys.stdin:
        order = line.strip()
        if order == "memory":
            Path("/proc/self/clear_refs").write_text("5")  # reset the peak
            run(3)
            answer = float(status_bytes("VmHWM") - resident_before)
        elif order == "tensors":
            answer = tensor_peak(run) if peer in VARIANTS or peer == "pellucid" else 0.0
        else:
            start_seconds = time.perf_counter()
            run(int(order))
            answer = time.perf_counter() - start_seconds
        print(answer, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
