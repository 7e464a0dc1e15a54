"""The catalogue of data sets: where their files are, and how to load, download and check them."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pellucid.data.fetch import fetch
from pellucid.errors import PellucidError, nearest

if TYPE_CHECKING:  # functions import what they need, so that `pellucid data list` starts without PyTorch
    from torch import Tensor

    from pellucid.data.dataset import Dataset, Splits
    from pellucid.data.detection import Pairs
    from pellucid.data.images import ColourMode, OnError

FileProgress = Callable[[str, int, int | None], None]  # (file name, bytes so far, total bytes or None)


@dataclass(frozen=True)
class PublishedFile:
    """One published file: its URL, MD5 and size in bytes, and the SHA-256 of the uncompressed file."""

    file: str
    url: str
    md5: str
    size: int
    sha256: str = ""  # "" if only the MD5 of the compressed file is published


@dataclass(frozen=True)
class Entry:
    """One data set.

    kind: how its files are stored. path: the path of its file or folder below the data root. swaps: the pairs of
    key-points that mirroring exchanges.
    """

    name: str
    title: str
    kind: Literal["bundled", "idx", "images", "masks", "objects"]
    about: str  # sizes, source and licence
    path: str = ""
    classes: tuple[str, ...] = ()
    sources: tuple[PublishedFile, ...] = ()
    swaps: "Pairs | None" = None


MASK_PARTS = ("train", "val")  # folders of images with masks: training data, test data
_DIGITS = tuple("0123456789")
# Pairs of left and right key-points among the 68 of a face: jaw, brows, nose, eyes, outer and inner lips
# (Sagonas et al. 2013, "300 Faces").
_FACE_SWAPS = (
    *((k, 16 - k) for k in range(8)),
    *((17 + k, 26 - k) for k in range(5)),
    (31, 35), (32, 34),
    (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),
    (48, 54), (49, 53), (50, 52), (55, 59), (56, 58),
    (60, 64), (61, 63), (65, 67),
)  # fmt: skip
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"  # mirror of the retired yann.lecun.com
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

# In the order: training images, training labels, test images, test labels.
_IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _sources(site: str, *sums: tuple[str, int, str]) -> tuple[PublishedFile, ...]:
    """Return the four idx files at a site; sums: (MD5, size, SHA-256) of each."""
    return tuple(PublishedFile(file, site + file, *values) for file, values in zip(_IDX_FILES, sums, strict=True))


CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "digits",
            "Optical recognition of handwritten digits, 8x8",
            "bundled",
            "1,797 images, a fifth of each class held out; Alpaydin, Kaynak 1998; CC BY 4.0; inside scikit-learn",
            classes=_DIGITS,
        ),
        Entry(
            "mnist",
            "MNIST handwritten digits, 28x28",
            "idx",
            "60,000 + 10,000 images; LeCun, Cortes, Burges 1998; CC BY-SA 3.0",
            path="mnist",
            classes=_DIGITS,
            sources=_sources(
                _MNIST,
                ("f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422,
                 "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
                ("d53e105ee54ea40749a09fcbcd1e9432", 28_881,
                 "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
                ("9fb629c4189551a2d022fa330f9573f3", 1_648_877,
                 "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
                ("ec29112dd5afa0611ce80d1b7f02629c", 4_542,
                 "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
            ),
        ),
        Entry(
            "fashion-mnist",
            "Fashion-MNIST, photos of clothes, 28x28",
            "idx",
            "60,000 + 10,000 images; Xiao, Rasul, Vollgraf 2017; MIT",
            path="fashion-mnist",
            classes=(
                "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
            ),
            sources=_sources(
                _FASHION,
                ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880, ""),
                ("25c81989df183df01b3e8a0aad5dffbe", 29_515, ""),
                ("bef4ecab320f06d8554ea6380940ec79", 4_422_102, ""),
                ("bb300cfdad3c16e7a12a480ee83cd310", 5_148, ""),
            ),
        ),
        Entry(
            "cifar10",
            "CIFAR-10 photos of ten kinds of things, 32x32 colour, as JPEG",
            "images",
            "50,000 + 10,000 images in train/CLASS/*.jpg and test/CLASS/*.jpg; Krizhevsky 2009; free for research",
            path="cifar10/cifar10.zip",
        ),
        Entry(
            "signs",
            "Sign-language digits, 100x100 colour",
            "images",
            "1,428 + 309 images in train/CLASS/*.jpg and val/CLASS/*.jpg; Mavi 2020; Apache-2.0",
            path="signs",
        ),
        Entry(
            "camvid",
            "CamVid road scenes with the class of each pixel, 240x180 colour",
            "masks",
            "367 + 101 photos in train and val, index PNGs in trainannot and valannot; Brostow 2009; for research",
            path="camvid",
            classes=(
                "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian",
                "bicyclist",
            ),
        ),
        Entry(
            "bccd",
            "Blood cells in boxes, 640x480 colour",
            "objects",
            "205 + 87 images, Pascal VOC with lists train and val; BCCD 2018; MIT",
            path="bccd",
            classes=("RBC", "WBC", "Platelets"),
        ),
        Entry(
            "pennfudan",
            "Penn-Fudan pedestrians with masks, colour photos of many sizes",
            "objects",
            "120 + 25 images, train.json and val.json of COCO; Wang, Shi, Song, Shen 2007; for research",
            path="pennfudan",
            classes=("person",),
        ),
        Entry(
            "faces",
            "Faces with 68 key-points, 112x112 colour",
            "objects",
            "2,600 + 300 frames of videos, train.json and val.json of COCO; YouTube Faces 2011; for research",
            path="faces",
            classes=("face",),
            swaps=_FACE_SWAPS,
        ),
    )
}  # fmt: skip


def data_root(explicit: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of the data sets.

    The first of: `explicit`; the environment variable PELLUCID_DATA; ../shared/data beside the checkout, if it exists;
    pellucid/data in the user's cache folder (XDG_CACHE_HOME, or ~/.cache).
    """
    if explicit is not None:
        return Path(explicit).expanduser()
    if from_environment := os.environ.get("PELLUCID_DATA"):
        return Path(from_environment).expanduser()
    shared = Path(__file__).resolve().parents[3] / "shared" / "data"
    if shared.is_dir():
        return shared
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "pellucid" / "data"


def find(name: str) -> Entry:
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
    """Load a data set of the catalogue, or the image folder or zip at that path.

    Images are loaded into memory, except annotated ones, which are decoded on demand, see `load_objects`. root: see
    `data_root`. size: for image folders (see `load_splits`) and annotated images. mode: also for images with masks.
    on_error: for image folders only. Raises PellucidError for an unknown name, for missing, damaged or altered files,
    and for `size` if the images of the data set have a fixed size.
    """
    from pellucid.data.dataset import Splits
    from pellucid.data.detection import has_objects, load_objects
    from pellucid.data.folder import load_splits

    if name not in CATALOGUE and (os.sep in name or Path(name).exists()):
        if Path(name).exists() and has_objects(name):
            _check_raises(name, on_error)
            return load_objects(name, size, mode)
        return load_splits(name, size, mode, on_error)
    entry = find(name)
    path = data_root(root) / entry.path
    if entry.kind in ("images", "objects"):
        if not path.exists():
            raise PellucidError(f"{entry.name} is missing; {by_hand(entry, path)}")
        if entry.kind == "objects":
            _check_raises(name, on_error)
            return load_objects(path, size, mode, entry.classes, entry.swaps)
        parts = load_splits(path, size, mode, on_error)
        return Splits(replace(parts.train, name=entry.name), replace(parts.test, name=entry.name))
    if size is not None:
        raise PellucidError(f"{entry.name} has a fixed size; leave out size")
    if entry.kind == "masks":
        return _masks(entry, path, mode)
    return _digits(entry) if entry.kind == "bundled" else _idx(entry, path)


def _check_raises(name: str, on_error: "OnError") -> None:
    if on_error != "raise":
        raise PellucidError(f"{name}: on_error={on_error!r} would drop annotated images; leave it out")


def get(
    name: str, root: str | os.PathLike[str] | None = None, progress: FileProgress | None = None
) -> list[tuple[str, str]]:
    """Download the missing and damaged files of a data set; return (path, status) of every file.

    status: "kept" for an existing correct file, "downloaded", or "bundled". root: see `data_root`.
    Raises PellucidError for an unknown name, for a data set without a download site, and as `fetch` does.
    """
    entry = find(name)
    if entry.kind == "bundled":
        return [(entry.name, "bundled")]
    folder = data_root(root) / entry.path
    if not entry.sources:
        raise PellucidError(f"{entry.name} cannot be downloaded: {by_hand(entry, folder)}")
    done: list[tuple[str, str]] = []
    for source in entry.sources:
        path = folder / source.file
        if _file_status(entry, source, path) == "ok":
            done.append((str(path), "kept"))
            continue

        def report(have: int, total: int | None, file: str = source.file) -> None:
            if progress is not None:
                progress(file, have, total)

        fetch(source.url, path, f"md5:{source.md5}", limit=source.size, progress=report)
        done.append((str(path), "downloaded"))
    return done


def check(name: str, root: str | os.PathLike[str] | None = None) -> list[tuple[str, str]]:
    """Return (path, status) of every file of a data set: "ok", "missing", or what is wrong with it.

    idx files are compared with their published checksums. For an image data set every file is read, with a check of its
    CRC in a zip; there is one status for the whole folder or zip ("ok: 1737 files", or the first bad file).
    Raises PellucidError for an unknown name.
    """
    entry = find(name)
    if entry.kind == "bundled":
        return [(entry.name, "ok")]
    path = data_root(root) / entry.path
    if entry.kind in ("images", "masks", "objects"):
        return [(str(path), _tree_status(path))]
    return [(str(path / source.file), _file_status(entry, source, path / source.file)) for source in entry.sources]


def annotated_path(name: str, root: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder or .zip of annotated objects, from a name or path; PellucidError for other data."""
    from pellucid.data.detection import has_objects

    if name not in CATALOGUE and (os.sep in name or Path(name).exists()):
        path = Path(name)
    else:
        entry = find(name)
        if entry.kind != "objects":
            raise PellucidError(f"{name} has no annotated objects; give a data set that has, or a folder")
        path = data_root(root) / entry.path
        if not path.exists():
            raise PellucidError(f"{entry.name} is missing; {by_hand(entry, path)}")
    if not has_objects(path):
        raise PellucidError(f"{path} contains no annotations; give VOC, COCO, YOLO or labelme annotations")
    return path


def by_hand(entry: Entry, path: Path) -> str:
    """Return the advice for an error message: how to obtain the file or folder at `path`."""
    if not entry.sources:
        return f"it has no download site in this form: put it at {path} by hand ({entry.about})"
    return f"run `pellucid data get {entry.name}`, or put it at {path} by hand"


def _verified(entry: Entry, source: PublishedFile, path: Path) -> "Tensor":
    """Read one idx file of the catalogue; raise PellucidError unless it has the published checksum."""
    from pellucid.data.idx import read_idx

    if not path.exists():
        raise PellucidError(f"{entry.name} is missing {path}; {by_hand(entry, path)} (from {source.url})")
    if not source.sha256 and path.is_file():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "md5").hexdigest() != source.md5:
                raise PellucidError(f"{path} has the wrong checksum; remove it and {by_hand(entry, path)}")
    return read_idx(path, sha256=source.sha256)


def _masks(entry: Entry, folder: Path, mode: "ColourMode") -> "Splits[Dataset]":
    """Return the parts train and val; a mask value equal to the number of classes marks a pixel without a class."""
    from pellucid.data.dataset import Splits
    from pellucid.data.folder import load_masks

    if not folder.exists():
        raise PellucidError(f"{entry.name} is missing; {by_hand(entry, folder)}")
    train, test = (load_masks(folder, part, entry.classes, len(entry.classes), mode) for part in MASK_PARTS)
    return Splits(replace(train, name=entry.name), replace(test, name=entry.name))


def _idx(entry: Entry, folder: Path) -> "Splits[Dataset]":
    from pellucid.data.dataset import Splits

    x, y, x_test, y_test = (_verified(entry, source, folder / source.file) for source in entry.sources)
    return Splits(train=_images(entry, folder, x, y), test=_images(entry, folder, x_test, y_test))


def _images(entry: Entry, folder: Path, x: "Tensor", y: "Tensor") -> "Dataset":
    import torch

    from pellucid.data.dataset import make_dataset

    if x.ndim != 3 or x.dtype != torch.uint8 or y.ndim != 1:
        raise PellucidError(f"{folder} does not contain images of {entry.name}; download them again")
    return make_dataset(entry.name, x[:, None], y.to(torch.int64), entry.classes)  # (N, 1, H, W)


def _digits(entry: Entry) -> "Splits[Dataset]":
    import torch
    from sklearn.datasets import load_digits

    from pellucid.data.dataset import make_dataset

    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16  # integers 0..16 in the file
    y = torch.tensor(labels, dtype=torch.int64)
    return make_dataset(entry.name, x, y, entry.classes).split(0.2, seed=0)


def _file_status(entry: Entry, source: PublishedFile, path: Path) -> str:
    if not path.exists():
        return "missing"
    try:
        _verified(entry, source, path)
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
