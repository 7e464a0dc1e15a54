"""Train an epoch on a folder of many images: `python -m benchmarks.stream [--images 50000 ...] [--data ROOT]`.

The folder contains copies of the CIFAR-10 training images of the data root. Two trainings run in separate processes, in
turns: one streams the images from the files, the other has the same images in memory. The images per second and the
peak resident memory of both are printed, and added to docs/benchmarks.json and docs/benchmarks.md. The exit status is 1
if the streamed training uses more than 1.5 GB, or has less than 0.9 times the speed of the other.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.run import rotated
from benchmarks.table import MIN_STREAMING, publish
from pellucid.data import ImageFolder, data_root, load_folder

MAX_BYTES = 1.5e9  # of the streamed training
ROUNDS = 3
BATCH_SIZE = 128
COUNTS = [1_000, 4_000, 16_000]  # images


def write_copies(root: Path, out: Path, count: int) -> None:
    """Write `count` images as CLASS/IMAGE files; images are repeated if there are fewer."""
    with zipfile.ZipFile(next((root / "cifar10").glob("*.zip"))) as archive:
        names = [name for name in archive.namelist() if "/train/" in f"/{name}" and name.endswith(".jpg")]
        names.sort(key=lambda name: Path(name).name)  # the classes alternate, so any number of images has all of them
        for name in {Path(name).parent.name for name in names}:
            (out / name).mkdir()
        for k in range(count):
            name = Path(names[k % len(names)])
            (out / name.parent.name / f"{k:06}.jpg").write_bytes(archive.read(names[k % len(names)]))


def train(folder: str, streamed: bool, size: int) -> None:
    """Train one epoch on a folder of CLASS/IMAGE files, and print the speed and the memory as JSON."""
    from pellucid import BatchNorm, Conv2d, Dense, Flatten, MaxPool2d, Model, ReLU, Sequential

    start = time.perf_counter()
    data = ImageFolder(folder, size=size) if streamed else load_folder(folder, size=size)
    open_seconds = time.perf_counter() - start
    blocks = {
        f"block{k}": Sequential(conv=Conv2d(width, 3, padding=1), norm=BatchNorm(), act=ReLU(), pool=MaxPool2d(2))
        for k, width in enumerate((96, 192, 384))  # wide enough that decoding is not the bottleneck
    }
    model = Model(Sequential(**blocks, flat=Flatten(), scores=Dense(10)), metrics=())
    history = model.fit(data, epochs=1, batch_size=BATCH_SIZE, augment=mirror, verbose=False)
    print(json.dumps({
        "images_per_second": history["images_per_second"][-1],
        "opened": round(open_seconds, 2),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))  # fmt: skip


def mirror(x, rng):  # augmentation makes both trainings prepare batches in the background
    return x.flip(3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="*", default=COUNTS, help="the numbers of images")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--train", choices=["streamed", "memory"], help=argparse.SUPPRESS)
    parser.add_argument("folder", nargs="?", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(options.folder, options.train == "streamed", options.size)
        return 0
    rows = [measure(count, options.data or data_root(), options.size) for count in options.images]
    publish("stream", {"rows": rows})
    return int(any(not within_limits(row) for row in rows))


def measure(count: int, root: Path, size: int) -> dict[str, Any]:
    """Return the speed and the memory of each epoch on a folder of `count` images, streamed and from memory."""
    row: dict[str, Any] = {"images": count, "streamed": [], "memory": []}
    with tempfile.TemporaryDirectory() as out:
        write_copies(root, Path(out), count)
        for index in range(ROUNDS):
            for kind in rotated(("streamed", "memory"), index):
                command = [sys.executable, "-m", "benchmarks.stream", "--train", kind, "--size", str(size), out]
                row[kind].append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
                text = ", ".join(f"{name} {value:,.0f}" for name, value in row[kind][-1].items())
                print(f"{count:,} images {kind}: {text}", flush=True)
    return row


def within_limits(row: Mapping[str, Any]) -> bool:
    """Return whether the streamed training is fast enough, and uses little enough memory."""
    speed, loaded_speed = (
        statistics.median(epoch["images_per_second"] for epoch in row[kind]) for kind in ("streamed", "memory")
    )
    return speed >= MIN_STREAMING * loaded_speed and max(epoch["memory"] for epoch in row["streamed"]) <= MAX_BYTES


if __name__ == "__main__":
    sys.exit(main())
