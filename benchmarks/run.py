"""Measure training steps and predictions of Pellucid and its peers, and write docs/benchmarks.md: `make bench`.

Every peer has its own process. The peers run in turn, each round with another first one: a burst that is not measured,
because the memory of the waiting process may have been evicted, and then a measured burst. Each ratio is taken within a
round, which cancels slow changes of the machine's speed. The memory format of PyTorch, and for small jobs the thread
count of each peer, are the fastest in a short trial; PyTorch's other forms have the format of its plain form. All jobs
use the allocator setting of `fit` and of predictors (pellucid/base/allocator.py).
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.jobs import DETECTORS, GENERATORS, JOBS, Job
from benchmarks.table import publish
from benchmarks.worker import VARIANTS
from pellucid.training.device import usable_precision

MIN_ROUNDS, MAX_ROUNDS = 9, 60
TRIAL_ROUNDS = 3  # in which the fastest memory format and thread count are found
ROUNDS_SECONDS = 30.0  # time after which there are no more rounds than MIN_ROUNDS
SLOW_ROUNDS, SLOW_RATIO = 3, 1.5  # a peer that is this much slower in the first rounds takes no part in the others
# Networks that Keras compiles for minutes, and ResNet-20 with many maps, which takes it eight times as long
SLOW_IN_KERAS = ("resnet50", "densenet121", "mobilenet_v2", "fcn8", "resnet20-64")
SLOW_TO_COMPILE = ("opened-efficientnet_b0",)  # networks that torch.compile takes more than five minutes for
PAUSE_SECONDS = 0.25  # before a burst, until the threads of the previous process stop spinning


class Worker:
    """The process of a peer, which runs `benchmarks.worker`."""

    def __init__(self, peer: str, job: str, threads: int) -> None:
        self.peer, self.threads = peer, threads
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "KERAS_BACKEND": "jax"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", peer, job, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def burst(self, steps: int) -> float:
        """Return the seconds per step of a burst, after one burst that is not measured."""
        time.sleep(PAUSE_SECONDS)
        self.ask(str(steps))
        return self.ask(str(steps)) / steps

    def ask(self, order: str) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"the benchmark of {self.peer} ended early; run it alone to see why")
        return float(answer)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@dataclass(frozen=True)
class Figure:
    """One peer on one job. seconds: per step, by round. ratios: to Pellucid's. memory, tensors: bytes, see worker."""

    peer: str
    variant: str
    threads: int
    seconds: list[float]
    ratios: list[float]
    memory: float
    tensors: float


def fastest(candidates: list[tuple[str, int]], name: str, job: Job) -> tuple[str, int]:
    """Return the candidate with the smallest median time per step in a short trial."""
    workers = [Worker(peer, name, threads) for peer, threads in candidates]
    times: dict[Worker, list[float]] = {worker: [] for worker in workers}
    for _ in range(TRIAL_ROUNDS):
        for worker in workers:
            times[worker].append(worker.burst(job.steps))
    for worker in workers:
        worker.close()
    fastest_worker = min(workers, key=lambda worker: statistics.median(times[worker]))
    return fastest_worker.peer, fastest_worker.threads


def candidates(job: Job, cores: int) -> dict[str, list[tuple[str, int]]]:
    """Return the variants to try for each peer: (name of the worker's peer, threads)."""
    images = len(job.shape) == 3
    threads = [1, cores] if job.network in ("mlp", "lenet") or job.batch == 1 else [cores]
    is_opened = job.network.startswith("opened-")  # defined by transformers, so it has no in-place form
    formats = ["torch", "torch-nchw"] if images and job.precision == "float32" else ["torch"]
    if job.network in DETECTORS:
        return {"Pellucid": [("pellucid", n) for n in threads], "PyTorch": [("torch", n) for n in threads]}
    variants = {
        "Pellucid": [("pellucid", n) for n in threads],
        "PyTorch": [(variant, n) for variant in formats for n in threads],
    }
    if images and not is_opened:
        variants["PyTorch, in place"] = [("torch-inplace", n) for n in threads]
    if job.network not in SLOW_TO_COMPILE:
        variants["PyTorch, compiled"] = [("torch-compile", n) for n in threads]
    if job.inference and not is_opened:
        variants["onnxruntime"] = [("onnxruntime", n) for n in threads]
    if job.precision == "bf16":
        variants["PyTorch, float32"] = [("torch-float32", n) for n in threads]
    if job.network not in (*SLOW_IN_KERAS, *GENERATORS) and not job.inference and not is_opened:
        variants["Keras on JAX"] = [("keras", cores)]
    if job.network == "mlp":
        variants["scikit-learn"] = [("sklearn", n) for n in threads]
    return variants


def rotated(items: Sequence[str], index: int) -> list[str]:
    """Return the items in the order of round number `index`: each round begins with another one."""
    first = index % len(items)
    return [*items[first:], *items[:first]]


def measure(name: str, job: Job, min_rounds: int, peers: list[str], cores: int) -> list[Figure]:
    """Run one job with all peers, and return their figures. peers: parts of names; all peers if empty."""
    selected: dict[str, tuple[str, int]] = {}
    for peer, variants in candidates(job, cores).items():
        if not peers or peer == "Pellucid" or any(word.lower() in peer.lower() for word in peers):
            is_nchw = selected.get("PyTorch", ("", 0))[0] == "torch-nchw" and f"{variants[0][0]}-nchw" in VARIANTS
            tried = [(f"{variant}-nchw", threads) for variant, threads in variants] if is_nchw else variants
            selected[peer] = tried[0] if len(tried) == 1 else fastest(tried, name, job)
    workers = {peer: Worker(variant, name, threads) for peer, (variant, threads) in selected.items()}
    memory = {peer: worker.ask("memory") for peer, worker in workers.items()}
    tensors = {peer: worker.ask("tensors") for peer, worker in workers.items()}
    seconds: dict[str, list[float]] = {peer: [] for peer in workers}
    remaining, start = list(workers), time.perf_counter()
    for index in range(max(min_rounds, MAX_ROUNDS)):
        if index >= min_rounds and time.perf_counter() - start >= ROUNDS_SECONDS:
            break
        if index == SLOW_ROUNDS:
            limit = SLOW_RATIO * statistics.median(seconds["Pellucid"])
            remaining = [peer for peer in remaining if statistics.median(seconds[peer]) < limit]
        for peer in rotated(remaining, index):
            seconds[peer].append(workers[peer].burst(job.steps))
    for worker in workers.values():
        worker.close()
    ours = seconds["Pellucid"]  # at least as many rounds as any peer's
    return [
        Figure(
            peer,
            workers[peer].peer,
            workers[peer].threads,
            peer_seconds,
            [their_seconds / our_seconds for their_seconds, our_seconds in zip(peer_seconds, ours, strict=False)],
            memory[peer],
            tensors[peer],
        )
        for peer, peer_seconds in seconds.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", nargs="*", help=f"some of {', '.join(JOBS)}; all of them unless given")
    parser.add_argument(
        "--rounds", type=int, default=MIN_ROUNDS, help=f"the smallest number of rounds, {MIN_ROUNDS} unless given"
    )
    parser.add_argument("--peers", nargs="*", default=[], help="words in the names of the peers to run")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    for name in options.jobs or JOBS:
        note = usable_precision(JOBS[name].precision)[1]
        if note:
            print(f"{name}: not measured: {note}", flush=True)
            continue
        figures = measure(name, JOBS[name], options.rounds, options.peers, cores)
        for figure in figures:
            micros, ratio = statistics.median(figure.seconds) * 1e6, statistics.median(figure.ratios)
            line = f"{name:17} {figure.peer:18} {figure.variant:19} {figure.threads} threads {micros:11.1f} us"
            print(
                f"{line}  ratio {ratio:.3f}  {figure.memory / 2**20:8.1f} MiB, tensors {figure.tensors / 2**20:.1f}",
                flush=True,
            )
        if not options.peers:
            publish(name, {"figures": [vars(figure) for figure in figures]})


if __name__ == "__main__":
    main()
