"""The jobs of the benchmark: a training step of plain gradient descent, or a prediction, on one batch."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pellucid.data import Batch, Objects
from pellucid.detectors import Detector, fast_rcnn, faster_rcnn, mask_rcnn, single_stage, ssd, yolo1, yolo3

DETECTORS: dict[str, Callable[[], Detector]] = {
    "single_stage": lambda: single_stage(3),
    "ssd": lambda: ssd(3),
    "yolo3": lambda: yolo3(3),
    "yolo1": lambda: yolo1(3),
    "fast_rcnn": lambda: fast_rcnn(3),
    "faster_rcnn": lambda: faster_rcnn(3),
    "mask_rcnn": lambda: mask_rcnn(3),
}


@dataclass(frozen=True)
class Job:
    """A network, its batch size, and the shapes of one input and one target."""

    network: str
    batch: int
    shape: tuple[int, ...]
    classes: int
    precision: str = "float32"
    steps: int = 1  # steps in one timed burst
    inference: bool = False
    target: tuple[int, ...] = ()  # shape of the target of one image: () for a class, (H, W) for a class per pixel
    frozen: bool = False  # whether batch normalization is frozen
    objects: int = 15  # in each image, for detectors
    examples: int = 0  # in the data set that batches are drawn from; 0 if all steps have the same batch


# The network "resnet20-16" is ResNet-20 whose first stage has 16 maps; "resnet56-16" has 56 layers.
RESNET = re.compile(r"resnet(\d+)-(\d+)")
GENERATORS = ("pix2pix", "dcgan")

JOBS: dict[str, Job] = {
    "mlp-10": Job("mlp", 10, (784,), 10, steps=1000),
    "mlp-128": Job("mlp", 128, (784,), 10, steps=300),
    "lenet-16": Job("lenet", 16, (1, 28, 28), 10, steps=100),
    "lenet-64": Job("lenet", 64, (1, 28, 28), 10, steps=40),
    "resnet20-16": Job("resnet20-16", 128, (3, 32, 32), 10),
    "resnet20-64": Job("resnet20-64", 128, (3, 32, 32), 10),
    "vgg16": Job("vgg16", 16, (3, 100, 100), 1000),
    "resnet50": Job("resnet50", 8, (3, 224, 224), 1000),
    "densenet121": Job("densenet121", 8, (3, 224, 224), 1000),
    "mobilenet_v2": Job("mobilenet_v2", 8, (3, 224, 224), 1000),
    "fcn8": Job("fcn8", 8, (3, 180, 240), 11, target=(180, 240), frozen=True),  # as in recipes/camvid-fcn8.toml
    "pix2pix": Job("pix2pix", 8, (12, 128, 128), 0),  # both turns, with Adam, as in recipes/camvid-photo.toml
    "dcgan": Job("dcgan", 64, (1, 28, 28), 0, steps=3),  # both turns, with Adam, as in recipes/mnist-dcgan.toml
    "lenet-256-inference": Job("lenet", 256, (1, 28, 28), 10, steps=20, inference=True),
    "resnet20-16-inference": Job("resnet20-16", 128, (3, 32, 32), 10, steps=2, inference=True),
    "vgg16-inference": Job("vgg16", 16, (3, 100, 100), 1000, steps=2, inference=True),
    "resnet50-inference": Job("resnet50", 8, (3, 224, 224), 1000, steps=2, inference=True),
    "densenet121-inference": Job("densenet121", 8, (3, 224, 224), 1000, steps=2, inference=True),
    "mobilenet_v2-inference": Job("mobilenet_v2", 8, (3, 224, 224), 1000, steps=3, inference=True),
    # Detectors, trained as in recipes/bccd-*.toml.
    **{f"detect-{name}": Job(name, 4, (3, 240, 320), 3) for name in DETECTORS},
    "detect-single_stage-1-inference": Job("single_stage", 1, (3, 240, 320), 3, steps=8, inference=True),
    # One image at a time, as from a camera.
    "lenet-1-inference": Job("lenet", 1, (1, 28, 28), 10, steps=400, inference=True),
    "resnet50-1-inference": Job("resnet50", 1, (3, 224, 224), 1000, steps=5, inference=True),
    "mobilenet_v2-1-inference": Job("mobilenet_v2", 1, (3, 224, 224), 1000, steps=20, inference=True),
    # Networks defined in PyTorch, opened by `pellucid.open`.
    **{
        f"opened-{name}{end}": Job(f"opened-{name}", batch, (3, 224, 224), 1000, inference=bool(end))
        for name, batch in (("resnet18", 8), ("convnext_tiny", 4), ("efficientnet_b0", 8), ("vit_b16", 2))
        for end in ("", "-inference")
    },
    "resnet20-64-bf16": Job("resnet20-64", 128, (3, 32, 32), 10, precision="bf16"),
}
# Jobs that differ from each other in one number, by series and number: `python -m benchmarks.growth`
_SMALL = Job("resnet20-16", 32, (3, 32, 32), 10)
GROWTH: dict[str, dict[int, Job]] = {
    "batch": {n: replace(_SMALL, batch=n) for n in (1, 2, 4, 8, 16, 32, 64, 128, 256)},
    "image size": {n: replace(_SMALL, batch=8, shape=(3, n, n)) for n in (16, 32, 64, 96, 128, 192, 256)},
    "width": {n: replace(_SMALL, network=f"resnet20-{n}") for n in (4, 8, 16, 32, 64)},
    "depth": {n: replace(_SMALL, network=f"resnet{n}-16") for n in (8, 14, 20, 32, 56, 110)},
    "classes": {n: replace(_SMALL, classes=n) for n in (10, 100, 1_000, 10_000, 100_000)},
    "data set size": {n: replace(JOBS["lenet-64"], examples=n) for n in (1_000, 4_000, 16_000, 64_000)},
    "boxes": {n: Job("single_stage", 4, (3, 240, 320), 3, objects=n) for n in (1, 4, 16, 64, 256)},
}


def find(name: str) -> Job:
    """Return the job of a name: a key of JOBS, or a series of GROWTH, a colon and a number."""
    series, _, number = name.partition(":")
    return GROWTH[series][int(number)] if number else JOBS[name]


def resnet_size(network: str) -> tuple[int, int]:
    """Return the blocks per stage and the maps of the first stage of a network that RESNET matches."""
    found = RESNET.fullmatch(network)
    assert found is not None
    return (int(found[1]) - 2) // 6, int(found[2])


def scenes(job: Job) -> Batch:
    """Return a batch of noise images with `job.objects` objects each, whose masks are the rectangles of their boxes."""
    rng = torch.Generator().manual_seed(0)
    height, width = job.shape[1:]
    objects = []
    for _ in range(job.batch):
        size = 16 + 64 * torch.rand(job.objects, 2, generator=rng)
        corner = torch.rand(job.objects, 2, generator=rng) * (torch.tensor([width, height]) - size)
        boxes = torch.cat([corner, corner + size], 1)
        x0, y0, x1, y1 = boxes[:, :, None, None].unbind(1)
        rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
        masks = (columns >= x0) & (columns < x1) & (rows >= y0) & (rows < y1)
        objects.append(Objects(boxes, torch.arange(job.objects) % job.classes, masks))
    return Batch(torch.rand(job.batch, *job.shape, generator=rng), objects)


def targets(job: Job) -> Tensor:
    """Return the targets of a batch, or of all examples: class indices in turn, or for pix2pix images (N, 3, H, W)."""
    if job.network == "pix2pix":
        return torch.rand(job.batch, 3, *job.shape[1:], generator=torch.Generator().manual_seed(1))
    shape = (job.examples or job.batch, *job.target)
    return (torch.arange(math.prod(shape)) % job.classes).view(shape)
