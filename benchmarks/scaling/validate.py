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
from benchmarks.scaling.steps import MLP

BATCHES = {"mlp": 256, "resnet20": 64}  # examples of all processes together
TABLE_BYTES = 64  # bytes with which a process describes its shard to the others
RATES = {"mlp": (200e6, 1000e6), "resnet20": (50e6, 200e6, 1000e6)}  # bits per second
DELAYS = (0.0, 0.005, 0.02)  # seconds, one way
EXCHANGE_BYTES = (500_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000, 16_000_000)
EXCHANGE_RATES = (200e6, 1000e6)  # bits per second
PAYLOAD_FRACTION = 8948 / 9014  # data in a frame of MTU 9,000; the rest is headers of Ethernet, IPv4 and TCP
N_TURNS = 9  # in which orders alternate, because the speed of a machine changes within seconds
N_WARM, N_STEPS = 1, 3  # steps of an order in a turn: before the measured ones, and measured


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


def alternate(*orders: tuple[Group, Any], repetitions: int = N_STEPS) -> list[list[list[float]]]:
    """Return the seconds of every repetition of each order, for each process; the orders are run in turns."""
    seconds = [[[] for _ in workers.processes] for workers, _ in orders]
    for turn in range(-1, N_TURNS):  # turn -1 builds the networks, and is not counted
        for (workers, order), own_seconds in zip(orders, seconds, strict=True):
            answers = workers.ask(*order, repetitions=repetitions)
            for process_seconds, answer in zip(own_seconds, answers, strict=True):
                process_seconds.extend(answer if turn >= 0 else ())
    return seconds


def of_slowest(seconds: list[list[float]]) -> float:
    """Return the median seconds of the slowest process."""
    return max(map(statistics.median, seconds))


@dataclass(frozen=True)
class Parameters:
    """The measured parameters of the model. size: bytes of the gradients."""

    size: int
    machine: Machine
    link: Link


def link_of(workers: Group, size: int) -> Link:
    """Return the rate and software time of the link, measured by exchanges of TABLE_BYTES and of `size` bytes."""
    orders = (workers, ("gather", TABLE_BYTES)), (workers, ("exchange", size))
    little, exchange = map(of_slowest, alternate(*orders, repetitions=9))
    count = len(workers.processes)
    sent = 2 * size * (count - 1) / count
    return Link(sent / max(exchange - 2 * little, 1e-9), 0.0, little)


def limited(bare_link: Link, rate: float, delay: float) -> Link:
    """Return the link with a limited rate, in bits per second, and a one-way delay."""
    return Link(min(rate / 8 * PAYLOAD_FRACTION, bare_link.rate), delay, bare_link.software, BURST_BYTES)


def setting_text(rate: float, delay: float) -> str:
    """Return a rate, in bits per second, and a one-way delay as text."""
    return f"{rate / 1e6:,.0f} Mbit/s, {delay * 1e3:.0f} ms"


def copies_of(workers: Group) -> Machine:
    """Return the measured times of the copies around an exchange, with all processes running."""
    size = 1 << 24
    times = alternate(*((workers, (kind, size)) for kind in ("scale", "divide", "add")))
    scale, divide, add = (of_slowest(seconds) / size for seconds in times)
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
    orders = ((workers, ("step", side, name, batch)) for side in ("alone", "ours"))
    alone_by_process, measured = alternate(*orders)
    alone = [*itertools.chain(*alone_by_process)]
    predicted = exact_step(alone, measured_parts.size, TABLE_BYTES, count, measured_parts.machine, link)
    return row(
        setting,
        predicted,
        of_slowest(measured),
        network=name,
        computing=alone,
        parts=asdict(measured_parts),
        link=asdict(link),
    )


def ddp_row(workers: Group, name: str, batch: int, link: Link, setting: str) -> dict[str, Any]:
    """Return the row for steps of DistributedDataParallel, which sends buckets during the backward pass."""
    orders = ((workers, ("step", side, name, batch)) for side in ("ddp-alone", "ddp"))
    alone, measured = map(of_slowest, alternate(*orders))
    # The last two layers are one bucket; for them, the backward pass computes gradients with respect to weights and
    # inputs. The first layer is the other bucket; for it, only those with respect to the weights.
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
        parts = (1, 2, 4)
        times = alternate(*((one, ("step", "alone", name, batch // part)) for part in parts))
        whole, half, quarter = map(of_slowest, times)
    predicted = (whole - quarter) / 3 + quarter  # linear in the batch size, from a quarter and all of it
    rows = [row(f"1 process, batch {batch // 2}", predicted, half, network=name)]
    with group(2) as two, group(4) as four:
        measured_parts = parameters(two, name)
        rows.append(
            exact_row(two, name, batch // 2, measured_parts, measured_parts.link, f"2 processes, batch {batch}")
        )
        orders = (two, ("step", "alone", name, batch // 4)), (four, ("step", "ours", name, batch // 4))
        alone_by_process, measured = alternate(*orders)
    alone = [*itertools.chain(*alone_by_process)]
    predicted = exact_step(alone, measured_parts.size, TABLE_BYTES, 4, measured_parts.machine, measured_parts.link)
    further_columns = {"computing": alone, "parts": asdict(measured_parts), "link": asdict(measured_parts.link)}
    return [
        *rows,
        row(f"4 processes, batch {batch}", predicted, of_slowest(measured), network=name, **further_columns),
    ]


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
                link = limited(bare_link, rate, delay)
                setting = setting_text(rate, delay)
                rows.append(exact_row(two, name, batch, measured_parts, link, f"{setting}: exact"))
                if name == "mlp":  # for ResNet-20, DDP also sends the buffers of batch normalization
                    rows.append(ddp_row(two, name, batch, link, f"{setting}: DDP"))
    return rows


def exchange_rows() -> list[dict[str, Any]]:
    """Return rows for all-reduces of several sizes alone, between two processes with a network between them."""
    rows: list[dict[str, Any]] = []
    with network() as namespaces:
        namespaces.limit(None, 0.0)
        with group(2, namespaces) as two:
            bare_link = link_of(two, EXCHANGE_BYTES[-1])
            for rate, delay in itertools.product(EXCHANGE_RATES, DELAYS):
                namespaces.limit(rate, delay)
                link, setting = limited(bare_link, rate, delay), setting_text(rate, delay)
                times = alternate(*((two, ("exchange", size)) for size in EXCHANGE_BYTES))
                for size, seconds in zip(EXCHANGE_BYTES, times, strict=True):
                    predicted = ring_all_reduce(size, 2, link)
                    rows.append(row(setting, predicted, of_slowest(seconds), size=f"{size / 1e6:g} MB"))
    return rows
