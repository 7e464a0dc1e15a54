"""The catalogue of data sets: where their files are, and how to load, download and check them."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.base.errors import PellucidError, nearest
from pellucid.data.entries import CATALOGUE, MASK_PARTS, Entry, PublishedFile
from pellucid.data.fetch import fetch
from pellucid.data.format_names import ANNOTATION_FORMATS

if TYPE_CHECKING:  # functions import what they need, so that `pellucid data list` starts without PyTorch
    from torch import Tensor

    from pellucid.data.dataset import Dataset, Splits
    from pellucid.data.image_formats import ColourMode
    from pellucid.data.images import OnError

FileProgress = Callable[[str, int, int | None], None]  # (file name, bytes so far, total bytes or None)


def data_root(explicit: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of the data sets.

    It is the first of: `explicit`; the environment variable PELLUCID_DATA; the folder shared/data next to the checkout,
    if it exists; pellucid/data in the user's cache folder (XDG_CACHE_HOME, or ~/.cache).
    """
    if explicit is not None:
        return Path(explicit).expanduser()
    if from_environment := os.environ.get("PELLUCID_DATA"):
        return Path(from_environment).expanduser()
    shared_folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if shared_folder.is_dir():
        return shared_folder
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "pellucid" / "data"


def find_entry(name: str) -> Entry:
    """Return the entry of a data set; raise PellucidError, which suggests the nearest name, for an unknown name."""
    entry = CATALOGUE.get(name)
    if entry is None:
        raise PellucidError(
            f"unknown data set {name!r}{nearest(name, CATALOGUE)}; known are {', '.join(CATALOGUE)}, "
            "or give the path of an image folder or .zip"
        )
    return entry


def load(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    mode: "ColourMode" = "RGB",
    on_error: "OnError" = "raise",
) -> "Splits[Any]":
    """Load a data set of the catalogue, or the image folder or zip at the path `name`.

    Images are loaded into memory, except annotated ones, which are decoded on demand, see `load_objects`. root: see
    `data_root`. size: for image folders (see `load_splits`) and annotated images. mode: for these and for images with
    masks. on_error: for image folders and annotated images. Raises PellucidError for an unknown name, for missing,
    damaged or altered files, and for `size` if the images of the data set have a fixed size.
    """
    from pellucid.data.dataset import Splits
    from pellucid.data.detection import has_objects, load_objects
    from pellucid.data.folder import load_splits

    if name not in CATALOGUE and (os.sep in name or Path(name).exists()):
        if Path(name).exists() and has_objects(name):
            return load_objects(name, size, mode, on_error=on_error)
        return load_splits(name, size, mode, on_error)
    entry = find_entry(name)
    path = data_root(root) / entry.path
    if entry.kind in ("images", "objects"):
        if not path.exists():
            raise PellucidError(f"{entry.name} is missing; {how_to_obtain(entry, path)}")
        if entry.kind == "objects":
            return load_objects(path, size, mode, entry.classes, entry.swaps, on_error)
        splits = load_splits(path, size, mode, on_error)
        return Splits(replace(splits.train, name=entry.name), replace(splits.test, name=entry.name))
    if size is not None:
        raise PellucidError(f"{entry.name} has a fixed size; leave out size")
    if entry.kind == "masks":
        return _load_masks(entry, path, mode)
    return _load_digits(entry) if entry.kind == "bundled" else _load_idx(entry, path)


def get(
    name: str, root: str | os.PathLike[str] | None = None, progress: FileProgress | None = None
) -> list[tuple[str, str]]:
    """Download the missing and damaged files of a data set; return (path, status) of every file.

    status: "kept" for an existing correct file, "downloaded", or "bundled". root: see `data_root`.
    Raises PellucidError for an unknown name, for a data set without a download site, and if `fetch` raises it.
    """
    entry = find_entry(name)
    if entry.kind == "bundled":
        return [(entry.name, "bundled")]
    folder = data_root(root) / entry.path
    if not entry.sources:
        raise PellucidError(f"{entry.name} cannot be downloaded: {how_to_obtain(entry, folder)}")
    statuses: list[tuple[str, str]] = []
    for source in entry.sources:
        path = folder / source.file
        if _file_status(entry, source, path) == "ok":
            statuses.append((str(path), "kept"))
            continue

        def report(received: int, total: int | None, file: str = source.file) -> None:
            if progress is not None:
                progress(file, received, total)

        fetch(source.url, path, f"md5:{source.md5}", limit=source.size, progress=report)
        statuses.append((str(path), "downloaded"))
    return statuses


def check(name: str, root: str | os.PathLike[str] | None = None) -> list[tuple[str, str]]:
    """Return (path, status) of every file of a data set: "ok", "missing", or a message about its fault.

    idx files are compared with their published checksums. For an image data set every file is read, and in a
    zip its CRC is checked; there is one status for the whole folder or zip ("ok: 1737 files", or the first bad file).
    Raises PellucidError for an unknown name.
    """
    entry = find_entry(name)
    if entry.kind == "bundled":
        return [(entry.name, "ok")]
    path = data_root(root) / entry.path
    if entry.kind in ("images", "masks", "objects"):
        return [(str(path), _tree_status(path))]
    return [(str(path / source.file), _file_status(entry, source, path / source.file)) for source in entry.sources]


def annotated_path(name: str, root: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder or .zip of annotated objects, from a name or path; raise PellucidError for other data."""
    from pellucid.data.detection import has_objects

    if name not in CATALOGUE and (os.sep in name or Path(name).exists()):
        path = Path(name)
    else:
        entry = find_entry(name)
        if entry.kind != "objects":
            raise PellucidError(f"{name} has no annotated objects; give a data set that has, or a folder")
        path = data_root(root) / entry.path
        if not path.exists():
            raise PellucidError(f"{entry.name} is missing; {how_to_obtain(entry, path)}")
    if not has_objects(path):
        raise PellucidError(f"{path} contains no annotations; give {ANNOTATION_FORMATS} annotations")
    return path


def how_to_obtain(entry: Entry, path: Path) -> str:
    """Return the advice for an error message: how to obtain the file or folder at `path`."""
    if not entry.sources:
        return f"it has no download site in this form: put it at {path} by hand ({entry.about})"
    return f"run `pellucid data get {entry.name}`, or put it at {path} by hand"


def _read_verified(entry: Entry, source: PublishedFile, path: Path) -> "Tensor":
    """Read one idx file of the catalogue; raise PellucidError unless it has the published checksum."""
    from pellucid.data.idx import read_idx

    if not path.exists():
        raise PellucidError(f"{entry.name} is missing {path}; {how_to_obtain(entry, path)} (from {source.url})")
    if not source.sha256 and path.is_file():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "md5").hexdigest() != source.md5:
                raise PellucidError(f"{path} has the wrong checksum; remove it and {how_to_obtain(entry, path)}")
    return read_idx(path, sha256=source.sha256)


def _load_masks(entry: Entry, folder: Path, mode: "ColourMode") -> "Splits[Dataset]":
    """Return the parts train and val; a mask value equal to the number of classes marks a pixel without a class."""
    from pellucid.data.dataset import Splits
    from pellucid.data.folder import load_masks

    if not folder.exists():
        raise PellucidError(f"{entry.name} is missing; {how_to_obtain(entry, folder)}")
    train, test = (load_masks(folder, part, entry.classes, len(entry.classes), mode) for part in MASK_PARTS)
    return Splits(replace(train, name=entry.name), replace(test, name=entry.name))


def _load_idx(entry: Entry, folder: Path) -> "Splits[Dataset]":
    from pellucid.data.dataset import Splits

    x, y, x_test, y_test = (_read_verified(entry, source, folder / source.file) for source in entry.sources)
    return Splits(train=_idx_dataset(entry, folder, x, y), test=_idx_dataset(entry, folder, x_test, y_test))


def _idx_dataset(entry: Entry, folder: Path, x: "Tensor", y: "Tensor") -> "Dataset":
    import torch

    from pellucid.data.dataset import make_dataset

    if x.ndim != 3 or x.dtype != torch.uint8 or y.ndim != 1:
        raise PellucidError(f"{folder} does not contain images of {entry.name}; download them again")
    return make_dataset(entry.name, x[:, None], y.to(torch.int64), entry.classes)  # (N, 1, H, W)


def _load_digits(entry: Entry) -> "Splits[Dataset]":
    import torch

    from pellucid.data.dataset import make_dataset
    from pellucid.data.digits import bundled_digits

    pixels, labels = bundled_digits()
    x = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16  # integers 0..16 in the file
    y = torch.tensor(labels, dtype=torch.int64)
    return make_dataset(entry.name, x, y, entry.classes).split(0.2, seed=0)  # a fifth of each class


def _file_status(entry: Entry, source: PublishedFile, path: Path) -> str:
    if not path.exists():
        return "missing"
    try:
        _read_verified(entry, source, path)
    except PellucidError as error:
        return str(error)
    return "ok"


def _tree_status(path: Path) -> str:
    from pellucid.data.tree import open_tree

    if not path.exists():
        return "missing"
    try:
        with open_tree(path) as tree:
            for name in tree.names:
                tree.read(name)
            return f"ok: {len(tree.names)} files"
    except PellucidError as error:
        return str(error)
