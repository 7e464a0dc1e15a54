"""The work that every peer does: one training step of plain gradient descent on one batch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """A network, its batch and what stands for one image."""

    network: str
    batch: int
    shape: tuple[int, ...]
    classes: int
    precision: str = "float32"
    steps: int = 1  # steps in one timed burst


JOBS: dict[str, Job] = {
    "mlp-10": Job("mlp", 10, (784,), 10, steps=1000),
    "mlp-128": Job("mlp", 128, (784,), 10, steps=300),
    "lenet-16": Job("lenet", 16, (1, 28, 28), 10, steps=100),
    "lenet-64": Job("lenet", 64, (1, 28, 28), 10, steps=40),
    "resnet20-16": Job("resnet20-16", 128, (3, 32, 32), 10, steps=3),
    "resnet20-64": Job("resnet20-64", 128, (3, 32, 32), 10),
    "vgg16": Job("vgg16", 16, (3, 100, 100), 1000),
    "resnet20-64-bf16": Job("resnet20-64", 128, (3, 32, 32), 10, precision="bf16"),
}
