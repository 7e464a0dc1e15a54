"""Image folders: one subfolder per class, in a folder or inside a zip, whole or in train and test parts."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import torch
from torch import Tensor

from pellucid.calls import checked
from pellucid.data.dataset import Dataset, Splits, make_dataset
from pellucid.data.images import Mode, OnError, check_format, check_on_error, decode, strict_warnings
from pellucid.data.layout import HELD_OUT, TRAIN, class_of, classes_of, files_of, part_classes, parts_of, root_of
from pellucid.data.tree import Tree, open_tree
from pellucid.errors import PellucidError

MEMORY_LIMIT = 16 << 30  # bytes of decoded images
TEST_FRACTION = 0.2  # of each class, held out of a folder without parts
_WORKERS = 2  # Pillow decodes without holding the interpreter's lock
_AHEAD = 512  # files per round, so that a fault stops the work soon


@checked
def load_folder(
    path: str | os.PathLike[str],
    size: int | tuple[int, int] | None = None,
    mode: Mode = "RGB",
    on_error: OnError = "raise",
) -> Dataset:
    """Load CLASS/IMAGE files, from a folder or a .zip, as one data set in sorted order.

    Every file below a class folder is taken for an image, at any depth; files beside the class folders,
    hidden files and the litter of desktops are left out. size: (H, W) to resize to, or one number for
    squares; without it all images must have one size. on_error="skip" leaves out unreadable images and lists
    them in `skipped`.
    Raises PellucidError, naming the file, for an unreadable image, and for a tree without classes.
    """
    size = _check(size, mode, on_error)
    with open_tree(path) as tree:
        root = root_of(tree)
        parts = parts_of(tree, root)
        if TRAIN in parts:
            raise PellucidError(f"{path} has a folder {TRAIN!r} beside its classes; load it with load_splits")
        return _load(tree, root, classes_of(tree, root), size, mode, on_error)


@checked
def load_splits(
    path: str | os.PathLike[str],
    size: int | tuple[int, int] | None = None,
    mode: Mode = "RGB",
    on_error: OnError = "raise",
) -> Splits:
    """Load an image folder (see `load_folder`) in two parts.

    With train/CLASS/IMAGE the test part is test/, else val/, else a fifth of each class of train/; a plain
    CLASS/IMAGE tree is split likewise. Raises PellucidError as `load_folder`, and for a class that only the
    test part knows.
    """
    size = _check(size, mode, on_error)
    with open_tree(path) as tree:
        root = root_of(tree)
        parts = parts_of(tree, root)
        if TRAIN not in parts:
            return _load(tree, root, classes_of(tree, root), size, mode, on_error).split(TEST_FRACTION)
        below, classes = part_classes(tree, root, TRAIN)
        train = _load(tree, below, classes, size, mode, on_error)
        held_out = next((part for part in HELD_OUT if part in parts), None)  # the first that exists
        if held_out is None:
            return train.split(TEST_FRACTION)
        below, _ = part_classes(tree, root, held_out)
        test = _load(tree, below, classes, size, mode, on_error)
    if train.x.shape[1:] != test.x.shape[1:]:
        raise PellucidError(
            f"{path}: training images are {_hw(train.x)} but test images are {_hw(test.x)}; give a size"
        )
    return Splits(train, test)


def _check(size: int | tuple[int, int] | None, mode: str, on_error: str) -> tuple[int, int] | None:
    check_on_error(on_error)
    return check_format(size, mode)


def _load(
    tree: Tree, root: str, classes: tuple[str, ...], size: tuple[int, int] | None, mode: Mode, on_error: OnError
) -> Dataset:
    label = {name: k for k, name in enumerate(classes)}
    x, kept, skipped = _pictures(tree, files_of(tree, root), size, mode, on_error)
    y = torch.tensor([label[class_of(n, root)] for n in kept], dtype=torch.int64)
    return make_dataset(tree.where(root).rstrip("/:"), x, y, classes, skipped)


def _pictures(
    tree: Tree, names: Sequence[str], size: tuple[int, int] | None, mode: Mode, on_error: OnError
) -> tuple[Tensor, list[str], tuple[str, ...]]:
    """Decode all files in order: (N, C, H, W), the names in it, and the names left out."""

    def picture(name: str) -> Tensor | PellucidError:
        try:
            return decode(tree.read(name), tree.where(name), size, mode)
        except PellucidError as error:
            return error

    x = torch.empty(0)
    kept: list[str] = []
    skipped: list[str] = []
    with strict_warnings(), ThreadPoolExecutor(_WORKERS) as pool:
        todo = iter(names)
        while some := list(islice(todo, _AHEAD)):
            for name, image in zip(some, pool.map(picture, some), strict=True):
                if isinstance(image, PellucidError):
                    if on_error == "raise":
                        raise image
                    skipped.append(tree.where(name))
                    continue
                if not kept:
                    x = _room(tree, len(names), image)
                if image.shape != x.shape[1:]:
                    raise PellucidError(
                        f"{tree.where(name)} is {_hw(image)} but {tree.where(kept[0])} is {_hw(x)}; give a size"
                    )
                x[len(kept)] = image
                kept.append(name)
    if not kept:
        raise PellucidError(
            f"{tree.path}: none of its {len(names)} images can be read, {skipped[0]} first; replace them"
        )
    return x[: len(kept)].contiguous(), kept, tuple(skipped)


def _room(tree: Tree, n: int, image: Tensor) -> Tensor:
    if n * image.numel() > MEMORY_LIMIT:
        raise PellucidError(f"{tree.path}: {n} images of {_hw(image)} do not fit into memory; give a smaller size")
    return torch.empty((n, *image.shape), dtype=torch.uint8)


def _hw(x: Tensor) -> str:
    return f"{x.shape[-2]}x{x.shape[-1]}"
