"""Write the photos that the default colorizer is trained on: `python -m benchmarks.photos FOLDER`.

FOLDER/train contains photos from the training images of three data sets, and FOLDER/test from their held-out images.
Photos of CIFAR-10 are copied, 2,000 of each class for training. Photos of the other sets are square crops, resized to
one size. The position of a crop is random, and its side a random fraction of the image's shorter side, which varies the
sizes of objects. Photos of `signs`, `bccd` and `pennfudan` are left for tests.
Then: `pellucid train cifar-colorize data.name=FOLDER data.size=64 ...`.
"""

import argparse
import io
import random
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from pellucid.data import CATALOGUE, data_root
from pellucid.data.tree import Tree, open_tree

SOURCES = "CIFAR-10, faces and CamVid"  # sources of the photos, for the card of a model
SIZE = 64  # side of a crop in pixels
IMAGES_PER_CLASS = {"train": 2_000, "test": 100}  # images of each class of CIFAR-10
# For each set: its name, the prefix of its images, crops per image, and the smallest fraction of the shorter side.
CROPPED_SETS = {
    "train": (("faces", "train/", 2, 0.7), ("camvid", "train/", 16, 0.4)),
    "test": (("faces", "val/", 1, 1.0), ("camvid", "val/", 2, 0.5)),
}


def crops(image: Image.Image, count: int, min_fraction: float, rng: random.Random) -> Iterator[Image.Image]:
    """Yield `count` random square crops of an image, resized to SIZE x SIZE."""
    width, height = image.size
    for _ in range(count):
        side = round(min(width, height) * rng.uniform(min_fraction, 1))
        left, top = rng.randint(0, width - side), rng.randint(0, height - side)
        yield image.crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def photo_names(tree: Tree, part: str) -> list[str]:
    """Return the names of the photos in a part of a data set."""
    return [name for name in tree.names if f"/{part}" in f"/{name}" and name.lower().endswith((".jpg", ".png"))]


def copy_cifar10(folder: Path, part: str, root: Path, rng: random.Random) -> int:
    """Copy IMAGES_PER_CLASS[part] random images of each class of CIFAR-10, and return their number."""
    with open_tree(root / CATALOGUE["cifar10"].path) as tree:
        by_class: dict[str, list[str]] = {}
        for name in photo_names(tree, f"{part}/"):
            by_class.setdefault(name.split("/")[-2], []).append(name)
        selected = [name for of_class in by_class.values() for name in rng.sample(of_class, IMAGES_PER_CLASS[part])]
        for k, name in enumerate(selected):
            (folder / f"{k}.jpg").write_bytes(tree.read(name))
    return len(selected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    root, rng = data_root(), random.Random(0)
    for part, sets in CROPPED_SETS.items():
        out = options.folder / part / "cifar10"
        out.mkdir(parents=True)
        print(part, "cifar10", copy_cifar10(out, part, root, rng), flush=True)
        for name, prefix, count, min_fraction in sets:
            out = options.folder / part / name
            out.mkdir(parents=True)
            n_crops = 0
            with open_tree(root / CATALOGUE[name].path) as tree:
                for photo_name in photo_names(tree, prefix):
                    image = Image.open(io.BytesIO(tree.read(photo_name))).convert("RGB")
                    for crop in crops(image, count, min_fraction, rng):
                        crop.save(out / f"{n_crops}.png")
                        n_crops += 1
            print(part, name, n_crops, flush=True)


if __name__ == "__main__":
    main()
