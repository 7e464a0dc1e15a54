"""Small drawn data sets of masks, in the forms in which people have them, written by Pillow and NumPy alone."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

VOID = 255
NAMES = ("background", "cell", "nucleus", "dark red thing")


@dataclass
class MaskSet:
    """Images and masks of class indices (VOID for no class) by stem, and their parts; colours: of each class."""

    images: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    parts: dict[str, str]
    colours: list[tuple[int, int, int]]
    names: tuple[str, ...]
    rng: np.random.Generator
    void_colour: tuple[int, int, int] = (224, 224, 192)
    suffixes: list[str] = field(default_factory=lambda: [".jpg", ".png", ".JPG", ".bmp"])

    def suffix(self) -> str:
        """Return a suffix for an image."""
        return str(self.rng.choice(self.suffixes))

    def coloured(self, stem: str) -> np.ndarray:
        """Return a mask (H, W, 3) in the colours of its classes."""
        table = np.full((256, 3), self.void_colour, np.uint8)
        table[: len(self.colours)] = self.colours
        return table[self.masks[stem]]


def draw_set(seed: int, classes: int = 3, count: int = 10, void: bool = False, size: int = 24) -> MaskSet:
    """Return images of random sizes in two parts; class k is a disc of its own grey, so that it can be learned."""
    rng = np.random.default_rng(seed)
    images, masks, parts = {}, {}, {}
    for k in range(count):
        stem = rng.choice(["img", "a.b c", "Été", "x_y", "frame_00_jpg.rf.1f"]) + f"{k:02d}"
        height, width = (int(value) for value in rng.integers(size, 2 * size, 2))
        rows, columns = np.mgrid[:height, :width]
        mask = np.zeros((height, width), np.uint8)
        for label in range(1, classes):
            y, x, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(3, 8)
            mask[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = label
            mask[label, : 2 * label] = label
        picture = np.repeat((40 + 60 * mask)[..., None], 3, 2) + rng.integers(0, 20, (height, width, 3))
        if void:
            mask[-2:] = VOID
        images[stem], masks[stem] = picture.astype(np.uint8), mask
        parts[stem] = "train" if k < count * 0.7 else "val"
    found: list[tuple[int, int, int]] = []
    while len(found) < classes:
        red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
        if (red, green, blue) not in [*found, (224, 224, 192)]:
            found.append((red, green, blue))
    return MaskSet(images, masks, parts, found, NAMES[:classes], rng)


def save(path: Path, array: np.ndarray, **options: object) -> None:
    """Write an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)  # type: ignore[arg-type]


def save_palette(path: Path, mask: np.ndarray, colours: Sequence[tuple[int, int, int]]) -> None:
    """Write a palette image with these colours, and VOC's border for VOID."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask, "P")
    table = [value for colour in colours for value in colour]
    image.putpalette(table + [0] * (765 - len(table)) + [224, 224, 192])
    image.save(path)


Placing = Callable[[str, str, str], tuple[str, str]]
# Paths of the image and of the mask, from the part, the stem and the image's suffix.
LAYOUTS: dict[str, Placing] = {
    "annot": lambda part, stem, end: (f"{part}/{stem}{end}", f"{part}annot/{stem}.png"),
    "kaggle": lambda part, stem, end: (f"{part}/{stem}{end}", f"{part}_labels/{stem}_L.png"),
    "carvana": lambda part, stem, end: (f"{part}/{stem}{end}", f"{part}_masks/{stem}_mask.gif"),
    "parts outside": lambda part, stem, end: (f"{part}/images/{stem}{end}", f"{part}/masks/{stem}.png"),
    "parts inside": lambda part, stem, end: (f"imgs/{part}/{stem}{end}", f"gt/{part}/{stem}.PNG"),
    "named parts": lambda part, stem, end: (f"{part}_images/{stem}{end}", f"{part}_masks/{stem}.png"),
    "no parts": lambda part, stem, end: (f"image/{stem}{end}", f"label/{stem}.png"),
    "nested": lambda part, stem, end: (f"data/set 1/Images/{stem}{end}", f"data/set 1/Annotations/{stem}.tif"),
    "beside": lambda part, stem, end: (f"{stem}{end}", f"{stem}_mask.png"),
    "beside in parts": lambda part, stem, end: (f"{part}/{stem}{end}", f"{part}/{stem}_mask.png"),
    "deepglobe": lambda part, stem, end: (f"{part}/{stem}_sat{end}", f"{part}/{stem}_mask.png"),
    "beginnings": lambda part, stem, end: (f"images/{part}/img_{stem}{end}", f"masks/{part}/label_{stem}.png"),
    "capitals": lambda part, stem, end: (f"images/{part}/Image-{stem}{end}", f"masks/{part}/Mask-{stem}.png"),
    "plain images": lambda part, stem, end: (f"images/{part}/{stem}{end}", f"masks/{part}/seg_{stem}.png"),
    "beside beginnings": lambda part, stem, end: (f"{stem}{end}", f"mask_{stem}.png"),
    "both ends": lambda part, stem, end: (f"images/{part}/seg_{stem}{end}", f"masks/{part}/seg_{stem}_mask.png"),
    "masks without parts": lambda part, stem, end: (f"{part}_images/{stem}{end}", f"Ground_Truth/{stem}.png"),
    "images without parts": lambda part, stem, end: (f"photos/{stem}{end}", f"{part}_masks/{stem}_mask.png"),
    "voc": lambda part, stem, end: (f"JPEGImages/{stem}{end}", f"SegmentationClass/{stem}.png"),
}  # fmt: skip


def write_layout(root: Path, drawn: MaskSet, layout: str, array: Callable[[str], np.ndarray] | None = None) -> None:
    """Write images and masks of indices, or others by stem, in a layout."""
    for stem, part in drawn.parts.items():
        image, mask = LAYOUTS[layout](part, stem, drawn.suffix())
        save(root / image, drawn.images[stem])
        save(root / mask, drawn.masks[stem] if array is None else array(stem))


def write_voc(root: Path, drawn: MaskSet, kind: str = "colours", lists: bool = True) -> None:
    """Write CVAT's "Segmentation mask 1.1": VOC's folders and labelmap.txt, in an order that is not that of indices."""
    order = list(range(len(drawn.names)))
    random.Random(int(drawn.rng.integers(1000))).shuffle(order)
    rows = [f"{drawn.names[k]}:{','.join(map(str, drawn.colours[k]))}::" for k in order]
    root.mkdir(parents=True, exist_ok=True)
    (root / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *rows]) + "\n")
    for stem in drawn.parts:
        save(root / f"JPEGImages/{stem}{drawn.suffix()}", drawn.images[stem])
        if kind == "colours":
            save(root / f"SegmentationClass/{stem}.png", drawn.coloured(stem))
        else:
            save_palette(root / f"SegmentationClass/{stem}.png", drawn.masks[stem], drawn.colours)
        save(root / f"SegmentationObject/{stem}.png", drawn.coloured(stem))
    for part in ("train", "val") if lists else ():
        stems = [stem for stem, one in drawn.parts.items() if one == part]
        path = root / f"ImageSets/Segmentation/{part}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(stems) + "\n")
