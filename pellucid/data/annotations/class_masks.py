"""Annotated objects written as masks of classes: palette images, and the list of their classes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder, write_atomically
from pellucid.data.annotations.base import Annotations, ImageRecord
from pellucid.data.annotations.format import AnnotationFormat
from pellucid.data.mask_checks import VOID
from pellucid.data.mask_classes import CLASSES_FILE, VOC_BORDER
from pellucid.ops.masks import decompress
from pellucid.report.embedded import encoded

BACKGROUND = "background"
IMAGES, MASKS = "images", "masks"
MAX_MASK_CLASSES = 255  # of which the background is one


def mask_classes(parts: Mapping[str, Annotations]) -> tuple[str, ...]:
    """Return the classes of the masks of objects: the background, unless every pixel has a class, then the others."""
    classes = next(iter(parts.values())).classes
    is_covered = all(_is_covered(record) for annotations in parts.values() for record in annotations.records)
    names = (*([] if is_covered else [BACKGROUND]), *(name for name in classes if is_covered or name != BACKGROUND))
    if len(names) > MAX_MASK_CLASSES:
        raise PellucidError(f"masks have at most {MAX_MASK_CLASSES} classes, not {len(names)}; convert to coco")
    return names


def _is_covered(record: ImageRecord) -> bool:
    """Return whether the masks of objects, which are run lengths without overlap, fill the image."""
    outlines = [instance.outline for instance in record.instances if isinstance(instance.outline, str)]
    if len(outlines) < len(record.instances):
        return False
    n_pixels = sum(sum(decompress(outline)[1::2]) for outline in outlines)
    return n_pixels + int(record.void_mask(record.size).sum()) == record.size[0] * record.size[1]


def class_mask(record: ImageRecord, classes: Sequence[str], names: Sequence[str]) -> Tensor:
    """Return the mask (H, W) uint8 of an image: indices into `names`; later objects cover earlier ones.

    classes: the names of the labels of objects. Raises PellucidError for an object without an outline.
    """
    mask = torch.zeros(record.size, dtype=torch.uint8)
    for instance in record.instances:
        mask[record.mask(instance)] = names.index(classes[instance.label])
    mask[record.void_mask(record.size)] = VOID
    return mask


def voc_colours() -> np.ndarray:
    """Return Pascal VOC's colours (256, 3) of class indices, and of VOID."""
    indices = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((indices >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    colours[VOID] = VOC_BORDER
    return colours


def mask_files(parts: Mapping[str, Annotations], names: Sequence[str]) -> Iterator[tuple[str, str, bytes]]:
    """Yield the part, the name and the bytes of a palette PNG for each image."""
    palette = voc_colours().flatten().tolist()
    for part, annotations in parts.items():
        for record in annotations.records:
            image = Image.fromarray(class_mask(record, annotations.classes, names).numpy())
            image.putpalette(palette)
            yield part, PurePosixPath(record.image).with_suffix(".png").name, encoded(image)


def write(parts: Mapping[str, Annotations], out: Path) -> None:
    """Write masks/PART/NAME.png, whose values are indices of the classes in classes.txt, and VOID."""
    names = mask_classes(parts)
    make_folder(out)
    write_atomically(out / CLASSES_FILE, "".join(f"{k}: {name}\n" for k, name in enumerate(names)).encode())
    for part, name, data in mask_files(parts, names):
        write_atomically(make_folder(out / MASKS / part) / name, data, durable=False)


def holds_class(name: str) -> bool:
    """Return whether a class name can be a line of classes.txt."""
    return bool(name) and name.isprintable() and name == name.strip()


FORMAT = AnnotationFormat(
    MASKS,
    parts=lambda tree: {},  # masks are read by `MaskFolder`
    read=lambda tree, files, classes: Annotations((), ()),
    write=write,
    image_path=lambda part, name: str(PurePosixPath(IMAGES, part, name)),
    written=lambda annotations: frozenset({"box", "masks", "void"}),
    holds_class=holds_class,
)
