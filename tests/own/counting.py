"""Counting of blobs, a user-defined task with data, loss and metric. `python counting.py RUN` trains a model."""

import sys
from dataclasses import dataclass, field

import torch

import pellucid
from pellucid import Adam, Conv2d, Cosine, Loss, MaxPool2d, Metric, Model, ReLU, Sequential
from pellucid.data import Batch

MAX_BLOBS = 6  # blobs in an image
BLOB_WIDTH = 1.5  # standard deviation of a blob, in pixels


def gaussians(centres: torch.Tensor, size: int) -> torch.Tensor:
    """Return Gaussians (n, size) of one axis around the centres (n,)."""
    return torch.exp(-((torch.arange(size) - centres[:, None]) ** 2) / (2 * BLOB_WIDTH**2))


def draw_example(index: int, size: tuple[int, int] = (32, 32), seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return example `index`: an image (1, H, W) in 0..1, and a density map (1, H/2, W/2) that sums to its count."""
    rng = torch.Generator().manual_seed(1_000_003 * seed + index)
    count = int(torch.randint(0, MAX_BLOBS + 1, (), generator=rng))
    centres = 4 + torch.rand(count, 2, generator=rng) * (torch.tensor(size) - 9)
    row_profiles, column_profiles = (gaussians(centres[:, axis], size[axis]) for axis in (0, 1))
    brightness = 0.5 + 0.4 * torch.rand(count, generator=rng)
    image = torch.einsum("n,nh,nw->hw", brightness, row_profiles, column_profiles) + 0.05 * torch.randn(
        size, generator=rng
    )
    row_profiles, column_profiles = (bump / bump.sum(1, keepdim=True) for bump in (row_profiles, column_profiles))
    density = torch.einsum("nh,nw->hw", row_profiles, column_profiles)[None]
    return image.clamp(0, 1)[None], 4 * torch.nn.functional.avg_pool2d(density, 2)


@dataclass(frozen=True)
class Blobs:
    """A source of `n` examples, which are drawn on demand and depend on the seed."""

    n: int
    seed: int = 0
    classes = None  # the targets are maps

    @property
    def checksum(self) -> str:
        return f"blobs 1, n {self.n}, seed {self.seed}"

    def __len__(self) -> int:
        return self.n

    def batch(self, indices, rng) -> Batch:
        images, maps = zip(*(draw_example(int(index), seed=self.seed) for index in indices), strict=False)
        return Batch(torch.stack(images), torch.stack(maps))


@pellucid.register
@dataclass(frozen=True)
class DensityLoss(Loss):
    """C = 1/2n Σ (‖scale (y - target)‖² + weight (Σy - Σtarget)²), squared errors of the pixels and of the count."""

    weight: float = 0.1
    scale: float = 10.0

    def compute(self, y, target):
        error = y - target
        count_error = error.sum((1, 2, 3), keepdim=True)
        value = (self.scale**2 * error**2).sum() + self.weight * (count_error**2).sum()
        return value / (2 * len(y)), (self.scale**2 * error + self.weight * count_error) / len(y)


@pellucid.register
@dataclass
class CountError(Metric):
    """The mean absolute error of the count, which is the sum of a map."""

    lower_is_better = True
    total: float = field(default=0.0, init=False)
    n_examples: int = field(default=0, init=False)

    def update(self, outputs, targets):
        self.total += float((outputs.sum((1, 2, 3)) - targets.sum((1, 2, 3))).abs().sum())
        self.n_examples += len(targets)

    def compute(self):
        return {"count_error": self.total / self.n_examples}


def network() -> Sequential:
    """Return a fully convolutional network from images (1, H, W) to maps (1, H/2, W/2)."""
    return Sequential(
        conv1=Conv2d(8, 5, padding="same"),
        relu1=ReLU(),
        pool=MaxPool2d(2),
        conv2=Conv2d(8, 5, padding="same"),
        relu2=ReLU(),
        density=Conv2d(1, 1, init_weight="zeros"),
    )


def model(seed: int = 0) -> Model:
    """Return a model with initial weights for images of any size."""
    parts = {"loss": DensityLoss(), "optimizer": Adam(0.005), "schedule": Cosine(), "metrics": [CountError()]}
    return Model(network(), **parts, input_shape=(1, None, None), seed=seed)


def train(run: str, seed: int = 0, resume: bool = False, epochs: int = 4, verbose: bool = False, **options) -> Model:
    """Train a model, write the run to the folder `run`, and return the model."""
    counter = model(seed)
    data, held_out = Blobs(192, seed=seed + 1), Blobs(48, seed=1000 + seed)
    options = {"epochs": epochs, "batch_size": 8, "monitor": "val_count_error", "verbose": verbose, **options}
    counter.fit(data, validation=held_out, run=run, resume=resume, **options)
    return counter


if __name__ == "__main__":
    trained = train(sys.argv[1], resume="--resume" in sys.argv, verbose=True)
    print(trained.evaluate(Blobs(256, seed=99)), trained.sha256())
