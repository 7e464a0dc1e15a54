"""Read a folder of JPEG files as training does: `python -m benchmarks.reading [--data ROOT]`.

The folder contains copies of the BCCD pictures of the data root, 640 x 480 pixels, which are resized to squares of each
of SIDES; for the smaller one, Pellucid decodes them at half of their size. Its loader is compared with PyTorch's
DataLoader over a data set that reads files as torchvision's ImageFolder with Resize does, and with the decoder alone;
all of them use as many threads or processes as there are processors. The rounds take turns. Adds a section to
docs/benchmarks.json and docs/benchmarks.md.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.run import rotated
from benchmarks.table import publish
from pellucid.data import ImageFolder, data_root
from pellucid.data.images import JPEG_SCALE_MARGIN
from pellucid.data.loader import Loader, usable_processors

SIDES, BATCH_SIZE, PICTURES, ROUNDS = (224, 96), 32, 1_024, 5


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
        peer: DataLoader[Any] = DataLoader(
            PillowFolder(files, side),  # pyright: ignore[reportArgumentType] (it has all that a DataLoader reads)
            BATCH_SIZE,
            shuffle=True,
            num_workers=processors,
            persistent_workers=True,
        )

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None)
    root = parser.parse_args().data or data_root()
    speeds_by_side = {side: measure(root, side) for side in SIDES}
    for side, speeds in speeds_by_side.items():
        for name, speed in speeds.items():
            print(f"{side} x {side}, {name}: {speed:,.0f} images/s", flush=True)
    publish("reading", {"speeds_by_side": speeds_by_side})


if __name__ == "__main__":
    main()
