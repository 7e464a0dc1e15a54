"""The efficiency of two processes, of Pellucid and of PyTorch's DistributedDataParallel (DDP).

`python -m benchmarks.distributed [NETWORK ...]`.

One process computes a training step on a batch; then each of two processes computes half of the batch, with one thread
each. Efficiency is the time of the one process divided by the sum of both processes' times, in processor time and in
wall-clock time. Each round runs all cases; the medians of the rounds' ratios are printed and written to
docs/scaling.json and docs/scaling.md.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.jobs import Job
from benchmarks.networks import resnet20
from benchmarks.peers import torch_peer
from benchmarks.scaling.page import record
from benchmarks.table import conditions
from pellucid.data import Batch
from pellucid.model import Model
from pellucid.models import lenet, mlp
from pellucid.optim import SGD
from pellucid.training.distributed import Processes, processes
from pellucid.training.process import keeping_freed_memory
from pellucid.training.reducer import BUCKET_MB
from pellucid.training.shards import ShardedStep
from pellucid.training.step import TrainingStep

ROUNDS = 5
JOBS = {
    "resnet20": Job("resnet20-16", 128, (3, 32, 32), 10, steps=8),
    "lenet": Job("lenet", 1024, (1, 28, 28), 10, steps=20),
    "mlp": Job("mlp", 1024, (784,), 10, steps=20),  # four million parameters
}
NETWORKS = {"resnet20": lambda: resnet20(16), "lenet": lenet, "mlp": lambda: mlp((784, 1600, 1600, 10))}
CASES = (("ours", 1), ("ours", 2), ("inexact", 2), ("separate", 2), ("ddp", 1), ("ddp", 2))  # sides and processes
RATIO_COLUMNS = (
    "ours: processor", "ours: clock", "no exchange: processor", "DDP: processor", "DDP: clock", "DDP's time over ours",
    "time of exact=false over ours",
)  # fmt: skip
WORKER = "worker"  # the first argument of the processes that torchrun starts
Step = Callable[[], object]


def random_batch(name: str, batch: int) -> Batch:
    """Return a random batch for a network, the same one in every process."""
    job, rng = JOBS[name], torch.Generator().manual_seed(0)
    return Batch(torch.rand(batch, *job.shape, generator=rng), torch.randint(0, job.classes, (batch,), generator=rng))


def make_model(name: str) -> Model:
    """Return a Pellucid model with its initial weights."""
    return Model(NETWORKS[name](), optimizer=SGD(0.01), input_shape=JOBS[name].shape, seed=0)


def plain_step(name: str, batch: int, in_sweep: bool = True) -> Step:
    """Return a training step of Pellucid in one process, as in `fit` without shards."""
    data, step = random_batch(name, batch), TrainingStep.of(make_model(name), batch, in_sweep=in_sweep)
    return lambda: step(data, 0.01)


def sharded_step(name: str, batch: int, group: Processes, bucket_mb: float = BUCKET_MB, exact: bool = True) -> Step:
    """Return a training step of Pellucid, in which each process computes one shard of `batch` examples."""
    model, data = make_model(name), random_batch(name, batch)
    step = TrainingStep.of(model, batch * group.count, in_sweep=False)
    sharded = ShardedStep(model, step, group, group.count, exact, bucket_mb)
    return lambda: sharded([data], 0.01, 0)


def torch_step(name: str, batch: int, parallel: bool) -> Step:
    """Return a training step of PyTorch on `batch` examples per process; parallel: whether DDP wraps the network."""
    job = JOBS[name]
    mlp_layers = nn.Linear(784, 1600), nn.ReLU(), nn.Linear(1600, 1600), nn.ReLU(), nn.Linear(1600, 10)
    net = nn.Sequential(*mlp_layers) if name == "mlp" else torch_peer.network(job, True)
    net = cast(Any, net).to(memory_format=torch.channels_last).train()
    x, y = random_batch(name, batch)
    x = x.to(memory_format=torch.channels_last) if x.dim() == 4 else x
    wrapped_net: nn.Module = nn.parallel.DistributedDataParallel(net) if parallel else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(wrapped_net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def step_of(side: str, name: str, count: int) -> Step:
    """Return the training step of one of `count` processes.

    side: "ours"; "inexact", with exact=False; "separate", without an exchange between the processes; or "ddp".
    """
    group, batch = processes(), JOBS[name].batch // count
    if side == "ddp":
        return torch_step(name, batch, parallel=count > 1)
    if count == 1 or side == "separate":
        return plain_step(name, batch, in_sweep=count == 1)
    return sharded_step(name, batch, group, exact=side == "ours")


def run_worker(side: str, name: str) -> None:
    """Run the job's steps in this process, and print their processor seconds and wall-clock seconds."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    step, steps = step_of(side, name, count), JOBS[name].steps
    with keeping_freed_memory(), torch.inference_mode(side != "ddp"):
        for _ in range(3):
            step()
        if count > 1:
            dist.barrier()
        busy, wall = time.process_time(), time.perf_counter()
        for _ in range(steps):
            step()
        print(f"\nseconds {time.process_time() - busy} {time.perf_counter() - wall}", flush=True)


def time_steps(side: str, count: int, name: str) -> tuple[float, float]:
    """Return the processor seconds summed over all processes, and the wall-clock seconds of the slowest."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    completed = subprocess.run(
        [*command, "-m", "benchmarks.distributed", WORKER, side, name],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    rows = [line.split()[1:] for line in completed.stdout.splitlines() if line.startswith("seconds")]
    assert len(rows) == count, completed.stdout
    return sum(float(row[0]) for row in rows), max(float(row[1]) for row in rows)


def measure_ratios(name: str) -> list[list[float]]:
    """Return one network's columns (RATIO_COLUMNS), each with one value per round."""
    rounds: list[list[float]] = []
    for _ in range(ROUNDS):
        seconds_of = {case: time_steps(*case, name) for case in CASES}
        (ours_busy, ours_wall), (ddp_busy, ddp_wall) = seconds_of["ours", 2], seconds_of["ddp", 2]
        rounds.append(
            [
                seconds_of["ours", 1][0] / ours_busy,
                seconds_of["ours", 1][1] / (2 * ours_wall),
                seconds_of["ours", 1][0] / seconds_of["separate", 2][0],
                seconds_of["ddp", 1][0] / ddp_busy,
                seconds_of["ddp", 1][1] / (2 * ddp_wall),
                ddp_wall / ours_wall,
                seconds_of["inexact", 2][1] / ours_wall,
            ]
        )
    return [[*column] for column in zip(*rounds, strict=True)]


def main(names: Sequence[str]) -> None:
    """Measure the named networks (by default all), print the medians, and write the page."""
    for name in names or JOBS:
        columns = dict(zip(RATIO_COLUMNS, measure_ratios(name), strict=True))
        medians = (f"{column} {statistics.median(values):.2f}" for column, values in columns.items())
        print(f"{name}: {', '.join(medians)}", flush=True)
        record("efficiency", {name: {"measured": conditions(), "columns": columns}})


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        run_worker(*sys.argv[2:])
    else:
        main(sys.argv[1:])
