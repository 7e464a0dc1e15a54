"""Measure `threads = "auto"` against every fixed number of threads: `python -m benchmarks.threads`.

Each number, and "auto", has a process of its own; they run in turn, on an idle machine and beside as many busy
processes as there are processors. With all works and loads, adds a section to docs/benchmarks.json and
docs/benchmarks.md. The exit status is 1 if "auto" misses a target.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks import networks
from benchmarks.estimators import busy_processes
from benchmarks.run import PAUSE_SECONDS, rotated
from benchmarks.table import THREADS_TARGETS, publish
from pellucid.base.allocator import keeping_freed_memory
from pellucid.data import Arrays
from pellucid.layers.base import Layer
from pellucid.model import Model
from pellucid.models import lenet
from pellucid.optim import SGD
from pellucid.training.callbacks import Callback, Training
from pellucid.training.threads import AutoThreads, FastestThreads, fastest_training_threads, thread_counts

# By name: the network, the shape of an image, the batch size, and the batches of an epoch, 0 for predictions
WORKS: dict[str, tuple[Callable[[], Layer], tuple[int, ...], int, int]] = {
    "training LeNet, batch 64": (lenet, (1, 28, 28), 64, 4),
    "training ResNet-20, batch 32": (lambda: networks.resnet20(16), (3, 32, 32), 32, 2),
    "predicting with ResNet-20, batch 32": (lambda: networks.resnet20(16), (3, 32, 32), 32, 0),
}
# "busy later": the busy processes begin after "auto" has chosen its number
LOADS = ("idle", "busy", "busy later")
BURST_SECONDS, ROUNDS = 0.8, 12
SETTLE_SECONDS = 4.0  # after the busy processes began, until a drop has been noticed and measured


class StopAfter(Callback):
    """Ends a training at the end of an epoch after some seconds."""

    def __init__(self, seconds: float) -> None:
        self.end = time.perf_counter() + seconds

    def on_epoch_end(self, training: Training, row: Any) -> None:
        training.stop = "the burst is over" if time.perf_counter() >= self.end else ""


def trained_rate(name: str, threads: str) -> Callable[[float], tuple[float, int]]:
    """Return a function that trains by `fit` for some seconds; it returns (images per second, number of threads)."""
    make, shape, batch_size, batches = WORKS[name]
    count = batch_size * batches
    data = Arrays(torch.rand(count, *shape), torch.arange(count) % 10)
    model = Model(make(), optimizer=SGD(0.01), metrics=(), input_shape=shape)

    def measure() -> FastestThreads:
        return fastest_training_threads(model, data, batch_size, None)

    callbacks: list[Callback] = []
    if threads == "auto":
        with keeping_freed_memory():
            callbacks.append(AutoThreads(measure(), measure))
    else:
        torch.set_num_threads(int(threads))

    def rate(seconds: float) -> tuple[float, int]:
        history = model.fit(
            data, epochs=10**5, batch_size=batch_size, callbacks=[*callbacks, StopAfter(seconds)], verbose=False
        )
        return count * len(history) / sum(history["seconds"]), torch.get_num_threads()

    return rate


def predicted_rate(name: str, threads: str) -> Callable[[float], tuple[float, int]]:
    """Return a function that predicts by `predictor` for some seconds, and returns the same as `trained_rate`'s."""
    make, shape, batch_size, _ = WORKS[name]
    model, x = Model(make(), input_shape=shape), torch.rand(batch_size, *shape)
    predict = model.predictor(threads="auto" if threads == "auto" else int(threads))
    predict(x)

    def rate(seconds: float) -> tuple[float, int]:
        start, images = time.perf_counter(), 0
        while time.perf_counter() < start + seconds:
            predict(x)
            images += batch_size
        return images / (time.perf_counter() - start), predict.threads

    return rate


def work(name: str, threads: str) -> None:
    """Print the images per second and the number of threads for each number of seconds on standard input."""
    rate = (trained_rate if WORKS[name][-1] else predicted_rate)(name, threads)
    print("ready", flush=True)
    for line in sys.stdin:
        print(*rate(float(line)), flush=True)


class Worker:
    """A process that works with one number of threads."""

    def __init__(self, name: str, threads: str) -> None:
        command = [sys.executable, "-m", "benchmarks.threads", "--work", name, threads]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def burst(self, seconds: float) -> tuple[float, int]:
        """Return the images per second and the number of threads of some seconds of work."""
        assert self.process.stdin is not None
        time.sleep(PAUSE_SECONDS)
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        images, threads = self._answer().split()
        return float(images), int(threads)

    def _answer(self) -> str:
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("a worker ended early; run it alone to see why")
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure_work(name: str, load: str) -> dict[str, Any]:
    """Return the median images per second with each number of threads and with "auto", and the number that it chose.

    The ratios of "auto" to the best number are those within a round, which cancels changes of the load.
    """
    settings = [*map(str, thread_counts()), "auto"]
    processors = thread_counts()[-1]
    with busy_processes(processors if load == "busy" else 0):
        workers = {threads: Worker(name, threads) for threads in settings}
        with busy_processes(processors if load == "busy later" else 0):
            if load == "busy later":
                workers["auto"].burst(SETTLE_SECONDS)
            rounds: list[dict[str, tuple[float, int]]] = []
            for k in range(ROUNDS):
                order = rotated(settings, k)
                rounds.append({threads: workers[threads].burst(BURST_SECONDS) for threads in order})
        for worker in workers.values():
            worker.close()
    rates = {threads: statistics.median(row[threads][0] for row in rounds) for threads in settings}
    best = max(settings[:-1], key=lambda threads: rates[threads])
    ratios = [row["auto"][0] / row[best][0] for row in rounds]
    chosen = statistics.mode(row["auto"][1] for row in rounds)
    return {"work": name, "load": load, "rates": rates, "ratios": ratios, "chosen": chosen}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--works", nargs="*", default=[*WORKS], choices=WORKS, help="all of them unless given")
    parser.add_argument("--loads", nargs="*", default=LOADS, choices=LOADS, help="all of them unless given")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(*options.work)
        return 0
    rows: list[dict[str, Any]] = []
    for load in options.loads:
        for name in options.works:
            rows.append(measure_work(name, load))
            print(json.dumps(rows[-1]), flush=True)
    if len(rows) == len(LOADS) * len(WORKS):
        publish("threads", {"rows": rows})
    return int(any(statistics.median(row["ratios"]) < THREADS_TARGETS[row["load"]] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
