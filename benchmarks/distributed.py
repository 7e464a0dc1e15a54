"""Two processes against one, beside PyTorch's DistributedDataParallel: `python -m benchmarks.distributed`.

The same batch is computed by one process, and half of it by each of two, one thread each. Efficiency is the time of one
divided by that of both together: by the processor's time, and by the clock. Rounds of all four take turns; the medians
of the rounds' ratios are shown.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.jobs import Job
from benchmarks.networks import resnet20
from benchmarks.peers import torch_peer
from pellucid.data import Batch
from pellucid.model import Model
from pellucid.models import lenet, mlp
from pellucid.optim import SGD
from pellucid.training.distributed import processes
from pellucid.training.process import memory_kept
from pellucid.training.shards import ShardedStep
from pellucid.training.step import TrainingStep

ROUNDS = 5
JOBS = {
    "resnet20": Job("resnet20-16", 128, (3, 32, 32), 10, steps=8),
    "lenet": Job("lenet", 1024, (1, 28, 28), 10, steps=20),
    "mlp": Job("mlp", 1024, (784,), 10, steps=20),  # of four million parameters
}
NETWORKS = {"resnet20": lambda: resnet20(16), "lenet": lenet, "mlp": lambda: mlp((784, 1600, 1600, 10))}
Step = Callable[[], object]


def batch_of(job: Job, count: int) -> Batch:
    """Return the part of a random batch that one of `count` processes computes."""
    rng = torch.Generator().manual_seed(0)
    shape = job.batch // count, *job.shape
    return Batch(torch.rand(shape, generator=rng), torch.randint(0, job.classes, shape[:1], generator=rng))


def ours(name: str, count: int) -> Step:
    """Return a training step of Pellucid, in one process as `fit` takes it without shards."""
    job = JOBS[name]
    model = Model(NETWORKS[name](), optimizer=SGD(0.01), input_shape=job.shape, seed=0)
    batch, step = batch_of(job, count), TrainingStep.of(model, job.batch, in_sweep=count == 1)
    if count == 1:
        return lambda: step(batch, 0.01)
    sharded = ShardedStep(model, step, processes(), count)
    return lambda: sharded([batch], 0.01, 0)


def ddp(name: str, count: int) -> Step:
    """Return a training step of PyTorch, in one process without DistributedDataParallel."""
    job = JOBS[name]
    sizes = nn.Linear(784, 1600), nn.ReLU(), nn.Linear(1600, 1600), nn.ReLU(), nn.Linear(1600, 10)
    net = nn.Sequential(*sizes) if name == "mlp" else torch_peer.network(job, True)
    net = cast(Any, net).to(memory_format=torch.channels_last).train()
    x, y = batch_of(job, count)
    x = x.to(memory_format=torch.channels_last) if x.dim() == 4 else x
    run: nn.Module = net
    if count > 1:
        processes()
        run = nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(run(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def work(side: str, name: str) -> None:
    """Print the processor's seconds and those of the clock for some steps in this process."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    step, steps = {"ours": ours, "ddp": ddp}[side](name, count), JOBS[name].steps
    with memory_kept(), torch.inference_mode(side == "ours"):
        for _ in range(3):
            step()
        if count > 1:
            dist.barrier()
        busy, wall = time.process_time(), time.perf_counter()
        for _ in range(steps):
            step()
        print(f"\nseconds {time.process_time() - busy} {time.perf_counter() - wall}", flush=True)


def timed(side: str, name: str, count: int) -> tuple[float, float]:
    """Return the processor's seconds of all processes together, and the clock's."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    done = subprocess.run(
        [*command, "-m", "benchmarks.distributed", side, name],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    rows = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("seconds")]
    assert len(rows) == count, done.stdout
    return sum(float(row[0]) for row in rows), max(float(row[1]) for row in rows)


def main() -> None:
    """Print a row for each network."""
    print("| network | ours: processor | ours: clock | DDP: processor | DDP: clock | DDP's time over ours, of two |")
    print("|---|---|---|---|---|---|")
    for name in JOBS:
        ratios: list[list[float]] = []
        for _ in range(ROUNDS):
            found = {(side, count): timed(side, name, count) for side in ("ours", "ddp") for count in (1, 2)}
            row: list[float] = []
            for side in ("ours", "ddp"):
                (busy1, wall1), (busy2, wall2) = found[side, 1], found[side, 2]
                row += [busy1 / busy2, wall1 / (2 * wall2)]
            ratios.append([*row, found["ddp", 2][1] / found["ours", 2][1]])
        medians = (f"{statistics.median(column):.2f}" for column in zip(*ratios, strict=True))
        print(f"| {name} | {' | '.join(medians)} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(*sys.argv[1:])
    else:
        main()
