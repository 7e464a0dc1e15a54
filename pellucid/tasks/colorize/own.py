"""A user's own photos as data, and the recipe for them: `pellucid train colorize DATA`."""

from pathlib import Path
from typing import Any

from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.files import is_picture
from pellucid.data import CATALOGUE, data_root
from pellucid.data.dataset import split_images
from pellucid.data.files import ImageFiles, split_by_readability
from pellucid.data.folder import TEST_FRACTION
from pellucid.data.images import decode, resized
from pellucid.data.skipping import note_skipped, skips
from pellucid.data.source import Source, Subset
from pellucid.data.tree import open_tree, tree_at
from pellucid.recipe.own import training_length
from pellucid.task import OwnRecipe

RECIPE, START_WEIGHTS = "cifar-colorize", "colorize"
TRAINING_STEPS = 1_500  # about ten minutes on two cores
BATCH_SIZE = 32
SIDE = 64  # pixels, the side of the cropped photos


class Photos(ImageFiles):
    """All photos in a folder or a .zip, cropped to the central square and resized to `side` pixels; all targets are 0.

    Raises PellucidError if there are no photos.
    """

    def __init__(self, path: Path, side: int) -> None:
        tree = tree_at(path)
        files = [file for file in tree.names if is_picture(file)]
        if not files:
            raise PellucidError(f"{path} contains no images; give a folder of photos")
        super().__init__(tree, files, size=(side, side))
        if skips():
            readable, self.skipped = split_by_readability(tree, self.names, self.image)
            self.names = tuple(files[k] for k in readable)
            note_skipped(path, self)

    def example(self, k: int) -> tuple[Tensor, int]:
        """Return photo k (3, side, side), and 0."""
        image = decode(self.tree.read(self.names[k]), self.tree.where(self.names[k]), None, self.mode)
        side = min(image.shape[1:])
        top, left = (image.shape[1] - side) // 2, (image.shape[2] - side) // 2
        assert self.size is not None  # set by the constructor
        return resized(image[:, top : top + side, left : left + side], self.size), 0


def read(data: Any, root: Any) -> tuple[Source, Source] | None:
    """Return the training and the test part of a folder of photos without class folders; None for other data."""
    if data.name in CATALOGUE or not Path(data.name).exists():
        return None
    with open_tree(data.name) as tree:
        if not any(is_picture(name) and "/" not in name for name in tree.names):
            return None
    photos = Photos(Path(data.name), data.size or SIDE)
    train, test = split_images(len(photos), TEST_FRACTION, 0, data.name)
    return Subset(photos, train), Subset(photos, test)


def recipe_for(data: str, root: Any = None) -> OwnRecipe:
    """Return the recipe that fine-tunes the shipped colorizer by regression of colours.

    Raises PellucidError if `data` does not exist or contains no images.
    """
    path = data_root(root) / CATALOGUE[data].path if data in CATALOGUE else Path(data)
    if not path.exists():
        raise PellucidError(f"{path} does not exist; give a folder of photos")
    return OwnRecipe(RECIPE, {
        "data.size": SIDE,
        "objective.model": "l1",
        "objective.width": 24,
        "objective.levels": 5,
        "optimizer.lr": 0.001,
        "start.weights": START_WEIGHTS,
        **training_length(TRAINING_STEPS, len(Photos(path, SIDE)), BATCH_SIZE),
    })  # fmt: skip
