"""Read a folder of JPEG files, alone and while training on them: `python -m benchmarks.reading [--data ROOT]`.

The folder contains copies of the BCCD pictures of the data root, 640 x 480 pixels, which are resized to squares of each
of SIDES; for the smaller one, Pellucid decodes them at half of their size. Its loader is compared with PyTorch's
DataLoader over a data set that reads files as torchvision's ImageFolder with Resize does, and with the decoder alone;
all of them use as many threads or processes as there are processors. Then both loaders feed a training of the same
small network on mirrored images, beside a training on as many images in memory: Pellucid's `fit`, and a loop of
PyTorch. The rounds take turns. Adds a section to docs/benchmarks.json and docs/benchmarks.md.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.run import rotated
from benchmarks.table import publish
from pellucid import AdaptiveAvgPool2d, BatchNorm, Conv2d, Dense, Flatten, Model, ReLU, Sequential
from pellucid.data import ImageFolder, data_root, load_folder
from pellucid.data.images import JPEG_SCALE_MARGIN
from pellucid.data.loader import Loader, usable_processors

SIDES, BATCH_SIZE, PICTURES, ROUNDS = (224, 96), 32, 1_024, 5
WIDTHS = (16, 32, 64, 128)  # channels of the network's convolutions, each with a stride of 2
TRAINING_ROUNDS = 3


class PillowFolder:
    """A data set that reads each file with Pillow at full size, resizes it, and converts it to float32 in 0..1."""

    def __init__(self, files: list[Path], side: int) -> None:
        self.files, self.side = files, side

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.files[index]) as image:
            pixels = image.convert("RGB").resize((self.side, self.side), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255, 0


def decode(file: Path, side: int) -> None:
    """Decode a file at the scale at which Pellucid decodes it for images of this side, without resizing."""
    with Image.open(file) as image:
        image.draft("RGB", (JPEG_SCALE_MARGIN * side, JPEG_SCALE_MARGIN * side))
        image.load()


def write_copies(root: Path, out: Path) -> list[Path]:
    """Write PICTURES files as CLASS/IMAGE, in two classes, and return their paths."""
    sources = sorted((root / "bccd" / "JPEGImages").glob("*.jpg"))
    files = []
    for k in range(PICTURES):
        files.append(out / "ab"[k % 2] / f"{k:05}.jpg")
        files[-1].parent.mkdir(exist_ok=True)
        files[-1].write_bytes(sources[k % len(sources)].read_bytes())
    return files


def measure(root: Path, side: int) -> dict[str, float]:
    """Return the images per second of each reader, for images of side x side pixels."""
    processors = usable_processors()
    with tempfile.TemporaryDirectory() as out:
        files = write_copies(root, Path(out))
        loader = Loader(ImageFolder(out, size=side), BATCH_SIZE, seed=0, prefetch=processors)
        peer = data_loader(PillowFolder(files, side))

        def decode_all() -> None:
            with ThreadPoolExecutor(processors) as pool:
                for _ in pool.map(partial(decode, side=side), files):
                    pass

        readers: dict[str, Callable[[], Any]] = {
            "Pellucid": lambda: [len(batch.images) for batch in loader.epoch(0)],
            "PyTorch's DataLoader": lambda: [len(images) for images, _ in peer],
            "the decoder alone": decode_all,
        }
        speeds: dict[str, list[float]] = {name: [] for name in readers}
        for k in range(ROUNDS + 1):
            for name in rotated([*readers], k):
                start = time.perf_counter()
                readers[name]()
                if k:  # the first round starts processes and reads the files into the system's cache
                    speeds[name].append(PICTURES / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in speeds.items()}


def mirrored(images: Tensor, rng: torch.Generator) -> Tensor:
    """Return the images mirrored."""
    return images.flip(3)


def measure_training(root: Path, side: int) -> dict[str, float]:
    """Return the images per second of each training in its second epoch; the first one starts threads or processes."""
    with tempfile.TemporaryDirectory() as out:
        files = write_copies(root, Path(out))
        in_memory = load_folder(out, size=side)
        trainings = {
            "Pellucid": lambda: fit(ImageFolder(out, size=side)),
            "PyTorch": lambda: train_by_pytorch(PillowFolder(files, side)),
            "from memory": lambda: fit(in_memory),
        }
        speeds: dict[str, list[float]] = {name: [] for name in trainings}
        for k in range(TRAINING_ROUNDS):
            for name in rotated([*trainings], k):
                speeds[name].append(trainings[name]())
    return {name: statistics.median(values) for name, values in speeds.items()}


def fit(data: Any) -> float:
    """Return the images per second of the second epoch of `fit`."""
    blocks = {
        f"block{k}": Sequential(conv=Conv2d(width, 3, stride=2, padding=1, bias=False), norm=BatchNorm(), act=ReLU())
        for k, width in enumerate(WIDTHS)
    }
    model = Model(Sequential(**blocks, pool=AdaptiveAvgPool2d(1), flat=Flatten(), scores=Dense(2)), metrics=())
    history = model.fit(data, epochs=2, batch_size=BATCH_SIZE, augment=mirrored, verbose=False)
    return history["images_per_second"][-1]


def train_by_pytorch(data: PillowFolder) -> float:
    """Return the images per second of the second epoch of a loop of PyTorch."""
    layers = list[nn.Module]()
    for n_in, n_out in pairwise((3, *WIDTHS)):
        layers += [nn.Conv2d(n_in, n_out, 3, 2, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], 2))
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (its stub lacks this form)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    batches = data_loader(data)
    start = 0.0
    for _ in range(2):
        start = time.perf_counter()
        for images, classes in batches:
            mirrored_images = images.flip(3).contiguous(memory_format=torch.channels_last)
            loss = nn.functional.cross_entropy(network(mirrored_images), classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return PICTURES / (time.perf_counter() - start)


def data_loader(data: PillowFolder) -> "DataLoader[Any]":
    """Return a DataLoader with as many processes as there are processors, which stay for all epochs."""
    return DataLoader(
        data,  # pyright: ignore[reportArgumentType] (it has all that a DataLoader reads)
        BATCH_SIZE,
        shuffle=True,
        num_workers=usable_processors(),
        persistent_workers=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None)
    root = parser.parse_args().data or data_root()
    figures: dict[str, dict[int, dict[str, float]]] = {}
    for name, function in (("speeds_by_side", measure), ("training_speeds_by_side", measure_training)):
        figures[name] = {side: function(root, side) for side in SIDES}
        for side, speeds in figures[name].items():
            for reader, speed in speeds.items():
                print(f"{side} x {side}, {reader}: {speed:,.0f} images/s", flush=True)
    publish("reading", figures)


if __name__ == "__main__":
    main()
