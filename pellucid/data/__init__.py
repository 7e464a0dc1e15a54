"""Data sets, files, downloads, augmentation and the loader."""

from typing import TYPE_CHECKING

from pellucid.base.lazy import lazy_getattr
from pellucid.data.fetch import fetch

if TYPE_CHECKING:
    from pellucid.data.augment import Augment, FeatureStats
    from pellucid.data.catalogue import check, data_root, get, load
    from pellucid.data.dataset import Dataset, Splits, float_images
    from pellucid.data.detection import DetectionFolder, load_objects
    from pellucid.data.entries import CATALOGUE, Entry
    from pellucid.data.files import ImageFiles, ImageFolder, collate
    from pellucid.data.folder import MaskDataset, load_folder, load_masks, load_splits
    from pellucid.data.idx import read_idx, write_idx
    from pellucid.data.images import load_image
    from pellucid.data.labelled_images import from_table
    from pellucid.data.loader import Loader
    from pellucid.data.masks import MaskFolder
    from pellucid.data.source import Arrays, Batch, Source, Subset
    from pellucid.ops.image_objects import Detections, Objects

__all__ = [
    "CATALOGUE",
    "Arrays",
    "Augment",
    "Batch",
    "Dataset",
    "DetectionFolder",
    "Detections",
    "Entry",
    "FeatureStats",
    "ImageFiles",
    "ImageFolder",
    "Loader",
    "MaskDataset",
    "MaskFolder",
    "Objects",
    "Source",
    "Splits",
    "Subset",
    "check",
    "collate",
    "data_root",
    "fetch",
    "float_images",
    "from_table",
    "get",
    "load",
    "load_folder",
    "load_image",
    "load_masks",
    "load_objects",
    "load_splits",
    "read_idx",
    "write_idx",
]

# Each module is imported on the first use of one of its names, so that commands that list data start without PyTorch.
__getattr__ = lazy_getattr(
    __name__,
    __all__,
    (
        "pellucid.data.augment",
        "pellucid.data.catalogue",
        "pellucid.data.dataset",
        "pellucid.data.detection",
        "pellucid.data.files",
        "pellucid.data.folder",
        "pellucid.data.idx",
        "pellucid.data.images",
        "pellucid.data.labelled_images",
        "pellucid.data.loader",
        "pellucid.data.masks",
        "pellucid.data.source",
        "pellucid.ops.image_objects",
    ),
)
