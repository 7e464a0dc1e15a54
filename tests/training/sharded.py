"""Train small networks and objectives from shards, and return hashes or histories: run by tests in processes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from pellucid.combine import Fork, Sequential, Shared
from pellucid.data import Batch
from pellucid.doctor.rehearsal import model_on
from pellucid.layers import BatchNorm, Concat, Conv2d, Dense, Flatten, Identity, ReLU
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.models import fcn8, lenet, mlp, mobilenet_v2, resnet20
from pellucid.optim import OPTIMIZERS
from pellucid.training import evaluate
from pellucid.training.device import usable_device
from pellucid.training.model import BaseModel
from tests.objectives import OBJECTIVES, random_batch
from tests.training.small import digits, small_conv

BATCH_COUNT = 2  # random batches of an objective, which make one batch of the training
EPOCHS = 2


class Examples:
    """The examples of random batches, as a source."""

    classes = None
    checksum = "random"

    def __init__(self, objective: Any) -> None:
        batches = [random_batch(objective, seed) for seed in range(BATCH_COUNT)]
        self.images = torch.cat([batch.images for batch in batches])
        self.targets = [target for batch in batches for target in batch.targets]
        self.is_tensor = isinstance(batches[0].targets, torch.Tensor)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        targets = [self.targets[k] for k in indices]
        return Batch(self.images[indices], torch.stack(targets) if self.is_tensor else targets)


def classifier(net: Any, size: int, channels: int, optimizer: str = "adam") -> tuple[Model, Any, Any]:
    rng = torch.Generator().manual_seed(1)
    x, y = torch.rand(20, channels, size, size, generator=rng), torch.randint(0, 10, (20,), generator=rng)
    return Model(net, optimizer=OPTIMIZERS[optimizer](0.01), input_shape=(channels, size, size), seed=1), x, y


def objective_case(name: str) -> tuple[Model, Any, Any]:
    objective = OBJECTIVES[name]()
    data = Examples(objective)
    return Model(objective, optimizer=OPTIMIZERS["adam"](0.001), input_shape=data.images.shape[1:], seed=1), data, None


def segmenter() -> tuple[Model, Any, Any]:
    rng = torch.Generator().manual_seed(1)
    x, y = torch.rand(8, 3, 64, 64, generator=rng), torch.randint(0, 3, (8, 64, 64), generator=rng)
    y[:, :9], y[5] = 255, 255  # one example has no weight at all
    loss = SoftmaxCrossEntropy(ignore=255)
    return Model(fcn8(3), loss=loss, optimizer=OPTIMIZERS["adam"](0.01), input_shape=(3, 64, 64), seed=1), x, y


def small_digits() -> tuple[Model, Any, Any]:
    return small_conv(input_shape=(1, 8, 8), clip=1.0, average=0.9), digits(0, 50), None


def stream() -> tuple[Model, Any, Any]:
    data = digits(0, 30)
    loader = DataLoader(TensorDataset(data.x, data.y), batch_size=12)
    return small_conv(input_shape=(1, 8, 8)), loader, None


def shared_layers() -> tuple[Model, Any, Any]:
    """Return a network whose first layers are used for two inputs, so that their gradients are not handed over."""
    branches = Fork(left=Identity(), right=ReLU())
    shared_branch = Sequential(Conv2d(4, 3), BatchNorm(), ReLU(), Flatten(), Dense(6))
    return classifier(Sequential(branches, Shared(shared_branch), Concat(), Dense(10)), 8, 1)


CASES: dict[str, Callable[[], tuple[Model, Any, Any]]] = {
    "mlp": lambda: classifier(mlp((64, 20, 10)), 8, 1),
    "lenet": lambda: classifier(lenet(), 28, 1),
    "resnet20": lambda: classifier(resnet20(), 32, 3),
    "mobilenet_v2": lambda: classifier(mobilenet_v2(10, 0.25), 32, 3),
    "fcn8": segmenter,
    "shared layers": shared_layers,
    "dropout, schedule, clipping, average": small_digits,
    "stream": stream,
    **{f"optimizer {name}": partial(classifier, mlp((64, 20, 10)), 8, 1, name) for name in OPTIMIZERS},
    **{name: partial(objective_case, name) for name in OBJECTIVES if not OBJECTIVES[name]().indivisible},
}


def train_case(name: str, device: str = "cpu", **options: Any) -> BaseModel:
    """Return the model of a case, trained for a few epochs with an uneven last batch where there is one."""
    model, x, y = CASES[name]()
    model = model_on(model, usable_device(device))
    model.fit(x, y, epochs=EPOCHS, batch_size=min(len(x), 12), verbose=False, **options)
    return model


def train_history(name: str, **options: Any) -> str:
    """Return losses and metrics of all epochs of a case, in several batches of held-out examples, with all digits."""
    evaluate.MAX_BATCH = 3
    model, x, y = CASES[name]()
    validation = x if y is None else (x, y)
    size = 4 if isinstance(x, Examples) else 12  # shards of one example have no variance
    history = model.fit(x, y, validation=validation, epochs=2, batch_size=size, verbose=False, **options)
    columns = [name for name in history.rows[0] if name.startswith(("train_", "val_"))]
    return repr([{name: row[name] for name in columns} for row in history.rows])


def weights(shards: int) -> dict[str, str]:
    """Return the hash of the weights of each case."""
    return {name: train_case(name, shards=shards).sha256() for name in CASES}


def weights_by_bucket(shards: int) -> dict[str, str]:
    """Return the hash of the weights of networks with batch norm for some sizes of the buckets, from one value up."""
    sizes = {"a value": 1e-6, "some": 0.02, "all": 1000.0}
    return {
        f"{name}, {size}": train_case(name, shards=shards, bucket_mb=sizes[size]).sha256()
        for name in ("shared layers", "resnet20")
        for size in sizes
    }


def weights_of_few_cases(shards: int) -> dict[str, str]:
    """Return the hash of the weights of a few cases, which take little time."""
    return {name: train_case(name, shards=shards).sha256() for name in ("mlp", "lenet", "optimizer adam")}


def weights_by_accumulation(accumulate: int) -> dict[str, str]:
    """Return the hash of the weights of some cases, whose batches each process computes in so many parts."""
    return {name: train_case(name, accumulate=accumulate).sha256() for name in ("mlp", "lenet", "shared layers")}


def weights_on_gpu(shards: int) -> dict[str, str]:
    """Return the hash of the weights of each case on the GPU of this process; of the optimizers, Adam's alone."""
    names = [name for name in CASES if not name.startswith("optimizer") or name == "optimizer adam"]
    return {name: train_case(name, "cuda", shards=shards).sha256() for name in names}


def histories(shards: int) -> dict[str, str]:
    """Return the history of each case; optimizers do not differ in what is measured."""
    return {name: train_history(name, shards=shards) for name in CASES if not name.startswith("optimizer")}
