"""One peer in a process of its own, which waits for orders: `python -m benchmarks.worker PEER JOB THREADS`.

Each line on standard input is a number of steps to run; each answer is the seconds they took. `memory` answers with
the peak memory of a few steps above what the process held before its first one, in bytes.
"""

import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.jobs import JOBS, Job

VARIANTS = {  # name: (channels-last, in place)
    "torch": (True, False),
    "torch-nchw": (False, False),
    "torch-inplace": (True, True),
    "torch-inplace-nchw": (False, True),
}


def make(peer: str, job: Job) -> Callable[[int], None]:
    if peer in VARIANTS:
        from benchmarks.peers import torch_peer

        return torch_peer.make(job, *VARIANTS[peer])
    module = importlib.import_module(f"benchmarks.peers.{peer}_peer")
    run: Callable[[int], None] = module.make(job)
    return run


def status(field: str) -> int:
    """Return a field of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"this kernel reports no {field}")


def main() -> None:
    peer, name, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if peer in VARIANTS or peer == "pellucid":
        import torch

        torch.set_num_threads(threads)
    job = JOBS[name]
    run = make(peer, job)
    before = status("VmRSS")
    for line in sys.stdin:
        order = line.strip()
        if order == "memory":
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
            run(min(3, job.steps * 3))
            answer = float(status("VmHWM") - before)
        else:
            start = time.perf_counter()
            run(int(order))
            answer = time.perf_counter() - start
        print(answer, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
