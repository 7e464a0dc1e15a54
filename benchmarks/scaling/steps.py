"""Training steps of Pellucid and of PyTorch, whose times the processes of `benchmarks.scaling.worker` measure."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.jobs import Job
from benchmarks.networks import resnet20
from benchmarks.peers import torch_peer
from pellucid.data import Batch
from pellucid.model import Model
from pellucid.models import lenet, mlp
from pellucid.optim import SGD
from pellucid.training.distributed import Processes
from pellucid.training.process import StopSignals
from pellucid.training.reducer import BUCKET_MB
from pellucid.training.shards import ShardedStep
from pellucid.training.step import TrainingStep

JOBS = {
    "resnet20": Job("resnet20-16", 128, (3, 32, 32), 10, steps=2),
    "lenet": Job("lenet", 1024, (1, 28, 28), 10, steps=10),
    "mlp": Job("mlp", 1024, (784,), 10, steps=10),  # four million parameters
}
MLP = (784, 1600, 1600, 10)
NETWORKS = {"resnet20": lambda: resnet20(16), "lenet": lenet, "mlp": lambda: mlp(MLP)}
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
    sharded = ShardedStep(model, step, group, group.count, StopSignals(), exact, bucket_mb)
    return lambda: sharded([data], 0.01, 0)


def torch_step(name: str, batch: int, parallel: bool) -> Step:
    """Return a training step of PyTorch on `batch` examples per process; parallel: whether DDP wraps the network."""
    job = JOBS[name]
    a, b, c, d = MLP
    mlp_layers = nn.Linear(a, b), nn.ReLU(), nn.Linear(b, c), nn.ReLU(), nn.Linear(c, d)
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
