"""Predicted and measured times of steps on this machine, and over a network with limited rate and a delay."""

import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.scaling.model import Link, Machine, exact_step, overlapped, ring_all_reduce
from benchmarks.scaling.network import BURST_BYTES, Network, network

BATCHES = {"mlp": 256, "resnet20": 64}  # examples of all processes together
TABLE_BYTES = 64  # bytes with which a process describes its shard to the others
RATES = {"mlp": (200e6, 1000e6), "resnet20": (50e6, 200e6, 1000e6)}  # bits per second
DELAYS = (0.0, 0.005, 0.02)  # seconds, one way
PAYLOAD_FRACTION = 8948 / 9014  # data in a frame of MTU 9,000; the rest is headers of Ethernet, IPv4 and TCP
N_WARM, N_STEPS = 4, 13
# The layers of the MLP. The last two are one bucket of DistributedDataParallel; for them, the backward pass computes
# gradients with respect to weights and inputs. The first layer is the other bucket; for it, only those of the weights.
MLP = (784, 1600, 1600, 10)


class Group:
    """Processes that run the orders of `benchmarks.scaling.worker`. on: the network between them; None for none."""

    def __init__(self, count: int, on: Network | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("", 0))
            port = probe.getsockname()[1]
        address = "127.0.0.1" if on is None else on.addresses[0]
        self.processes = [
            subprocess.Popen(
                [*(() if on is None else on.command_prefix(k)), sys.executable, "-m", "benchmarks.scaling.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={
                    **os.environ,
                    **{"RANK": str(k), "WORLD_SIZE": str(count), "LOCAL_RANK": str(k), "OMP_NUM_THREADS": "1"},
                    **{"MASTER_ADDR": address, "MASTER_PORT": str(port)},
                    "GLOO_SOCKET_IFNAME": "lo" if on is None else on.devices[k],
                },
            )
            for k in range(count)
        ]

    def ask(self, *order: Any, warm: int = N_WARM, repetitions: int = N_STEPS) -> list[Any]:
        """Return the answers of all processes to an order."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps([*order, warm, repetitions]) + "\n")
            process.stdin.flush()
        return [self._answer(process) for process in self.processes]

    def _answer(self, process: "subprocess.Popen[str]") -> Any:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("answer "):
                return json.loads(line.removeprefix("answer "))
        raise SystemExit("benchmarks.scaling: a worker ended early; its message stands above")

    def seconds(self, *order: Any, warm: int = N_WARM, repetitions: int = N_STEPS) -> float:
        """Return the median seconds of an operation in its slowest process."""
        answers = self.ask(*order, warm=warm, repetitions=repetitions)
        return max(map(statistics.median, answers))

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes:
            process.wait()


@contextmanager
def group(count: int, on: Network | None = None) -> Iterator[Group]:
    """Within the context, yield a group of `count` processes."""
    workers = Group(count, on)
    try:
        yield workers
    finally:
        workers.close()


@dataclass(frozen=True)
class Parameters:
    """The measured parameters of the model. size: bytes of the gradients."""

    size: int
    machine: Machine
    link: Link


def link_of(workers: Group, size: int) -> Link:
    """Return the rate and software time of the link, measured by exchanges of TABLE_BYTES and of `size` bytes."""
    little = workers.seconds("gather", TABLE_BYTES, repetitions=100)
    exchange = workers.seconds("exchange", size)
    count = len(workers.processes)
    sent = 2 * size * (count - 1) / count
    return Link(sent / max(exchange - 2 * little, 1e-9), 0.0, little)


def copies_of(workers: Group) -> Machine:
    """Return the measured times of the copies around an exchange, with all processes running."""
    size = 1 << 24
    scale, divide, add = (workers.seconds(kind, size) / size for kind in ("scale", "divide", "add"))
    return Machine(scale, divide, add, len(os.sched_getaffinity(0)))


def parameters(workers: Group, name: str) -> Parameters:
    """Return the parameters of a network's steps, measured without computing steps."""
    size = int(workers.ask("size", name)[0])
    return Parameters(size, copies_of(workers), link_of(workers, size))


def exact_row(
    workers: Group, name: str, batch: int, measured_parts: Parameters, link: Link, setting: str
) -> dict[str, Any]:
    """Return the row for steps of Pellucid on `batch` examples in each process."""
    count = len(workers.processes)
    alone = [value for answer in workers.ask("step", "alone", name, batch) for value in answer]
    measured = workers.seconds("step", "ours", name, batch)
    alone += [value for answer in workers.ask("step", "alone", name, batch) for value in answer]
    predicted = exact_step(alone, measured_parts.size, TABLE_BYTES, count, measured_parts.machine, link)
    return row(
        setting, predicted, measured, network=name, computing=alone, parts=asdict(measured_parts), link=asdict(link)
    )


def ddp_row(workers: Group, name: str, batch: int, link: Link, setting: str) -> dict[str, Any]:
    """Return the row for steps of DistributedDataParallel, which sends buckets during the backward pass."""
    alone = workers.seconds("step", "ddp-alone", name, batch)
    measured = workers.seconds("step", "ddp", name, batch)
    alone = (alone + workers.seconds("step", "ddp-alone", name, batch)) / 2
    first, middle, last = (a * b for a, b in itertools.pairwise(MLP))
    unit = alone / (3 * (first + middle + last) - first)
    buckets = [
        (2 * (middle + last) * unit, ring_all_reduce(4 * (middle + last), 2, link)),
        (first * unit, ring_all_reduce(4 * first, 2, link)),
    ]
    return row(setting, overlapped((first + middle + last) * unit, buckets), measured, network=name)


def row(setting: str, predicted: float, measured: float, **further_columns: Any) -> dict[str, Any]:
    """Return a row of the page, and print it."""
    error = predicted / measured - 1
    print(f"{setting}: predicted {predicted * 1e3:.1f} ms, measured {measured * 1e3:.1f} ms, {error:+.1%}", flush=True)
    return {"setting": setting, "predicted": predicted, "measured": measured, **further_columns}


def processes_rows(name: str) -> list[dict[str, Any]]:
    """Return rows for one, two and four processes of this machine, without a network between them."""
    batch = BATCHES[name]
    with group(1) as one:
        times = {part: one.seconds("step", "alone", name, batch // part) for part in (1, 2, 4)}
    predicted = (times[1] - times[4]) / 3 + times[4]  # linear in the batch size, from a quarter and all of it
    rows = [row(f"1 process, batch {batch // 2}", predicted, times[2], network=name)]
    with group(2) as two:
        measured_parts = parameters(two, name)
        rows.append(
            exact_row(two, name, batch // 2, measured_parts, measured_parts.link, f"2 processes, batch {batch}")
        )
        alone = [value for answer in two.ask("step", "alone", name, batch // 4) for value in answer]
    with group(4) as four:
        measured = four.seconds("step", "ours", name, batch // 4)
    predicted = exact_step(alone, measured_parts.size, TABLE_BYTES, 4, measured_parts.machine, measured_parts.link)
    further_columns = {"computing": alone, "parts": asdict(measured_parts), "link": asdict(measured_parts.link)}
    return [*rows, row(f"4 processes, batch {batch}", predicted, measured, network=name, **further_columns)]


def link_rows(name: str) -> list[dict[str, Any]]:
    """Return rows for two processes with a network between them; no parameter is fitted to these rows."""
    rows: list[dict[str, Any]] = []
    batch = BATCHES[name] // 2
    with network() as namespaces:
        namespaces.limit(None, 0.0)
        with group(2, namespaces) as two:
            measured_parts = parameters(two, name)
            bare_link = measured_parts.link
            for rate, delay in itertools.product(RATES[name], DELAYS):
                namespaces.limit(rate, delay)
                link = Link(min(rate / 8 * PAYLOAD_FRACTION, bare_link.rate), delay, bare_link.software, BURST_BYTES)
                setting = f"{rate / 1e6:,.0f} Mbit/s, {delay * 1e3:.0f} ms"
                rows.append(exact_row(two, name, batch, measured_parts, link, f"{setting}: exact"))
                if name == "mlp":  # for ResNet-20, DDP also sends the buffers of batch normalization
                    rows.append(ddp_row(two, name, batch, link, f"{setting}: DDP"))
    return rows
