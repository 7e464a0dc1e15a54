"""Load the data of a recipe's [data] table."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import note, note_once
from pellucid.data import (
    CATALOGUE,
    Arrays,
    Dataset,
    DetectionFolder,
    ImageFolder,
    MaskFolder,
    Source,
    Splits,
    Subset,
    data_root,
    get,
    load,
    load_masks,
)
from pellucid.data.catalogue import how_to_obtain
from pellucid.data.class_folders import class_parts, note_class_folders, root_of
from pellucid.data.dataset import split_by_class, split_images
from pellucid.data.detection import has_objects
from pellucid.data.entries import MASK_PARTS, PublishedFile
from pellucid.data.files import ImageFiles
from pellucid.data.folder import TEST_FRACTION, MaskDataset
from pellucid.data.labelled_images import TableImages
from pellucid.data.mask_checks import check_values, plain_values
from pellucid.data.mask_classes import N_VALUES
from pellucid.data.mask_layouts import MASK_SUFFIX
from pellucid.data.mask_settings import reading_masks
from pellucid.data.masks import mask_parts, mask_split
from pellucid.data.parts import TRAIN
from pellucid.data.skipping import note_skipped, skipping
from pellucid.data.tree import open_tree
from pellucid.layers.base import Shape
from pellucid.recipe.tables import Data
from pellucid.training.examples import first_batch

S_co = TypeVar("S_co", bound=Source, covariant=True)
XOR = "xor"
# Image shapes (C, H, W) of data sets, known without loading them.
SHAPES: dict[str, Shape] = {
    XOR: (2, 1, 1), "digits": (1, 8, 8), "mnist": (1, 28, 28), "fashion-mnist": (1, 28, 28),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Material(Generic[S_co]):
    """Training, validation and test data; `validation` is None where the recipe has no validation part."""

    train: S_co
    validation: S_co | None
    test: S_co

    @property
    def checksums(self) -> dict[str, str]:
        """The SHA-256 of each existing part, by its name."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {role: part.checksum for role, part in parts.items() if part is not None}

    def refuse_unreadable(self) -> None:
        """Raise PellucidError for image files that cannot be read, and for training masks of fewer than two classes.

        A note says what was recognized of masks.
        """
        for part in filter(None, (self.train, self.validation, self.test)):
            files, indices = (part.source, part.indices.tolist()) if isinstance(part, Subset) else (part, None)
            if isinstance(files, ImageFiles):
                files.refuse_unreadable(indices)
            if isinstance(files, MaskFolder) and part is self.train:
                note_once(files.check_values(indices))

    def file_parts(self) -> dict[str, list[str]] | None:
        """Return the files of each part of a table, None for other data."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        files: dict[str, list[str]] = {}
        for role, part in parts.items():
            if isinstance(part, Subset) and isinstance(part.source, TableImages):
                files[role] = [part.source.names[k] for k in part.indices.tolist()]
        return files or None

    def map(self, convert: Callable[[Source], Source]) -> "Material[Source]":
        """Return the data with `convert` applied to each part."""
        validation = None if self.validation is None else convert(self.validation)
        return Material(convert(self.train), validation, convert(self.test))


def fetch_missing(name: str, root: str | os.PathLike[str] | None = None) -> None:
    """Download the missing files of a data set that has a download site, after one line on stderr.

    Data sets that are published only after a user agrees to terms have no site in the catalogue. Raises PellucidError,
    which names the files and their folder, if the download fails.
    """
    missing_files, folder = missing_sources(name, root)
    if missing_files:
        n_bytes, (site, _, _) = sum(file.size for file in missing_files), missing_files[0].url.rpartition("/")
        note(f"{name} is missing: downloading {n_bytes / 1e6:.1f} MB from {site} to {folder}")
        try:
            get(name, root)
        except PellucidError as error:
            files = ", ".join(file.file for file in missing_files)
            raise PellucidError(f"{error}; {name} needs {files} in {folder}") from error


def missing_sources(name: str, root: str | os.PathLike[str] | None = None) -> tuple[list[PublishedFile], Path]:
    """Return the files of a data set that can be downloaded and are missing, and their folder."""
    entry = CATALOGUE.get(name)
    folder = data_root(root) / (entry.path if entry else "")
    return [file for file in (entry.sources if entry else ()) if not (folder / file.file).exists()], folder


def load_material(
    table: Data, seed: int, root: str | os.PathLike[str] | None = None, ignored: int | None = None
) -> Material[Source]:
    """Load, limit and split the data of a recipe; raises PellucidError if they are missing or too few.

    With data.stream, and for annotated objects, the parts are sources that decode images when a batch needs them.
    ignored: the class index that the loss ignores in the user's own masks; data sets of the catalogue define their own.
    """
    with skipping(table.skip), reading_masks(table):
        if reads_objects(table):
            splits = load(table.name, root, size=table.size or None, mode=table.mode)
            train, test = splits.train, splits.test
        elif not table.stream:
            return load_arrays(table, seed, root, ignored)
        else:
            train, test = _stream_splits(table, root, ignored)
    return divide_data(table, seed, train, test)


def load_arrays(
    table: Data, seed: int, root: str | os.PathLike[str] | None = None, ignored: int | None = None
) -> Material[Dataset]:
    """Load the data of a recipe into memory, even with data.stream, then limit and split them; see `load_material`."""
    splits = load_splits(table, root, ignored)
    return divide_data(table, seed, splits.train, splits.test)


def divide_data(table: Data, seed: int, train: Any, test: Any) -> Material[Any]:
    """Limit the training part, and hold out its validation part; raises PellucidError if there are too few images."""
    if table.limit:
        if table.limit > len(train):
            raise PellucidError(f"data.limit is {table.limit}, but {table.name} has {len(train)} training images")
        train = _subset(train, torch.arange(table.limit))
    if not table.validation:
        return Material(train, None, test)
    remaining, validation = _split_source(train, table.validation, seed, table.name)
    return Material(remaining, validation, test)


def _check_no_size(table: Data, remedy: str = "") -> None:
    if table.size:
        raise PellucidError(f"data.size: the images of {table.name} have a fixed size; leave it at 0{remedy}")


def _stream_splits(table: Data, root: str | os.PathLike[str] | None, ignored: int | None) -> tuple[Source, Source]:
    """Return the parts of `load_splits`, training and test, as sources that decode images on demand."""
    entry = CATALOGUE.get(table.name)
    if table.name == XOR or (entry is not None and entry.kind not in ("images", "masks")):
        raise PellucidError(f"data.stream: {table.name} has no image files to decode on demand; leave it out")
    path = Path(table.name) if entry is None else data_root(root) / entry.path
    if not path.exists():
        raise PellucidError(
            f"{table.name} is missing; " + (how_to_obtain(entry, path) if entry else "give a folder or .zip")
        )
    if part_names := mask_parts_of(table.name, root):
        classes, ignored = (None, ignored) if entry is None else (entry.classes, len(entry.classes))
        mask_folders = [MaskFolder(path, part, table.size or None, table.mode, classes, ignored) for part in part_names]
        note_skipped(path, *mask_folders)
        train, test = (
            mask_folders if len(mask_folders) > 1 else _split_source(mask_folders[0], TEST_FRACTION, 0, table.name)
        )
        return train, test
    if not table.size and table.name != "cifar10":
        raise PellucidError("data.stream: streaming images of a folder needs one size; set data.size")
    size = (table.size, table.size) if table.size else None
    with open_tree(path) as tree:
        root_folder = root_of(tree)
        parts = class_parts(tree, root_folder)
        folder = ImageFolder(path, parts.train or "", size, table.mode)
        test = None if parts.held_out is None else ImageFolder(path, parts.held_out, size, table.mode)
        note_skipped(path, folder, test)
        note_class_folders(tree, root_folder, parts)
    if test is not None:
        return folder, test
    return _split_source(folder, TEST_FRACTION, 0, table.name)


def _split_source(source: Source, fraction: float, seed: int, name: str) -> tuple[Source, Source]:
    """Split a source into the same two parts as `split` of the same images in memory."""
    if isinstance(source, Dataset):
        parts = source.split(fraction, seed)
        return parts.train, parts.test
    base_source, selected_indices = (
        (source.source, source.indices) if isinstance(source, Subset) else (source, slice(None))
    )
    if isinstance(base_source, TableImages):
        remaining_indices, held_out_indices = base_source.draw(
            torch.arange(len(base_source))[selected_indices], fraction, seed
        )
    elif isinstance(base_source, ImageFolder):
        remaining_indices, held_out_indices = split_by_class(base_source.labels[selected_indices], fraction, seed, name)
    else:
        remaining_indices, held_out_indices = split_images(len(source), fraction, seed, name)
    return _subset(source, remaining_indices), _subset(source, held_out_indices)


def _subset(source: Source, indices: Tensor) -> Source:
    """Return the examples at `indices`; a part of a Subset is a Subset of the same source."""
    if isinstance(source, Dataset | DetectionFolder):
        return source.subset(indices)
    if isinstance(source, Subset):
        return Subset(source.source, source.indices[indices])
    part = Subset(source, indices)
    if isinstance(source, Arrays):
        return Arrays(source.x[indices], source.y[indices], source.classes, part.checksum)
    return part


def load_splits(table: Data, root: str | os.PathLike[str] | None = None, ignored: int | None = None) -> Splits[Dataset]:
    """Load the training and test parts of the data set or folder that the table names.

    ignored: see `load_material`. Raises PellucidError for annotated objects, which are not loaded into memory.
    """
    with skipping(table.skip), reading_masks(table):
        return _load_splits(table, root, ignored)


def _load_splits(table: Data, root: str | os.PathLike[str] | None, ignored: int | None) -> Splits[Dataset]:
    if reads_objects(table):
        raise PellucidError(
            f"{table.name} contains annotated objects; give data with one class for each image or pixel"
        )
    if table.name == XOR:
        return xor_splits()
    entry = CATALOGUE.get(table.name)
    if entry is not None and entry.kind != "images":
        _check_no_size(table, "; with data.stream=true its images are resized" if entry.kind == "masks" else "")
        return load(table.name, root, mode=table.mode)
    if parts := mask_parts_of(table.name, root):
        _check_no_size(table, "; images with masks are resized if data.stream=true")
        mask_sets = [load_masks(table.name, part, None, ignored, table.mode) for part in parts]
        classes = max((part.classes for part in mask_sets), key=len)
        note_skipped(table.name, *mask_sets)
        _check_classes(mask_sets[0], classes)
        mask_sets = [replace(part, classes=classes) for part in mask_sets]
        return Splits(*mask_sets) if len(mask_sets) > 1 else mask_sets[0].split(TEST_FRACTION)
    return load(table.name, root, size=(table.size, table.size) if table.size else None, mode=table.mode)


def _check_classes(masks: MaskDataset, classes: Sequence[str]) -> None:
    """Raise PellucidError for training masks of fewer than two classes, see `check_values`."""
    counts = torch.bincount(masks.y.flatten().long(), minlength=N_VALUES)
    has_names = tuple(classes) != tuple(map(str, range(len(classes))))
    check_values(counts, plain_values(counts, classes), classes if has_names else None, masks.name)


def mask_parts_of(name: str, root: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the names of the training and test parts of data with masks, or of the single part to split; else [].

    A folder or .zip file has masks if `mask_layout` finds some. Raises PellucidError if there are parts, but none is
    "train" in any spelling.
    """
    entry = CATALOGUE.get(name)
    if entry is not None:
        return list(MASK_PARTS) if entry.kind == "masks" else []
    if name == XOR or not Path(name).exists() or not (names := mask_parts(name)):
        return []
    parts = mask_split(name)
    if parts.train is None:
        raise PellucidError(
            f"{name} has masks for {', '.join(names):.80}, but none to train on; name these folders {TRAIN} and "
            f"{TRAIN}{MASK_SUFFIX}"
        )
    parts.note_used_parts(name)
    return [parts.train] if parts.held_out is None else [parts.train, parts.held_out]


def is_annotated(name: str) -> bool:
    """Return whether `name` is a data set, or a folder, of images with annotated objects."""
    entry = CATALOGUE.get(name)
    return entry.kind == "objects" if entry else name != XOR and Path(name).exists() and has_objects(name)


def reads_objects(table: Data) -> bool:
    """Return whether the data of a recipe are annotated objects, and not masks beside them."""
    return table.targets != "masks" and is_annotated(table.name)


def input_shape(table: Data, root: str | os.PathLike[str] | None = None) -> Shape:
    """Return the shape of one image; images are read only if the table does not determine it."""
    shape = shape_of_table(table)
    if shape is None and reads_objects(table):
        return tuple(first_batch(load_material(table, 0, root).train).images.shape[1:])
    with skipping(table.skip), reading_masks(table):
        if shape is None and mask_parts_of(table.name, root):
            return tuple(first_batch(_stream_splits(table, root, None)[0]).images.shape[1:])
    return shape or tuple(load_splits(table, root).train.x.shape[1:])


def shape_of_table(table: Data) -> Shape | None:
    """Return the shape of one image if the table determines it, otherwise None."""
    if table.name in SHAPES:
        return SHAPES[table.name]
    if reads_objects(table):
        return None
    side = table.size or (32 if table.name == "cifar10" else 0)  # images of a folder may differ in size
    return (1 if table.mode == "L" else 3, side, side) if side else None


def xor_splits() -> Splits[Dataset]:
    """Return the four points of exclusive or, with inputs and classes 0 and 1, as both training and test data."""
    points = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    data = Dataset.from_arrays(points, torch.tensor([0, 1, 1, 0]), ("0", "1"), XOR)
    return Splits(data, data)
