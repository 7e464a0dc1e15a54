"""Masks as files: the picture under its colours, the classes as an index PNG, and the areas as JSON."""

import io
import json
from pathlib import Path

from PIL import Image
from torch import Tensor

from pellucid.files import write_atomically
from pellucid.report.figures.pictures import mask_overlay, palette
from pellucid.tasks.segment.predict import Segmentation


def write_segmentation(folder: Path, stem: str, image: Tensor, found: Segmentation) -> dict[str, str]:
    """Write STEM-overlay.png, STEM.png with the class of each pixel, and STEM.json; return their paths by kind.

    The index PNG has the classes as values and their colours as its palette. Each file appears whole or not at all.
    """
    indexed = Image.fromarray(found.mask.numpy())
    indexed.putpalette(palette(len(found.classes)).flatten().tolist())
    shown = mask_overlay(image.permute(1, 2, 0).numpy(), found.mask, len(found.classes))
    height, width = found.mask.shape
    numbers = {"height": height, "width": width, "areas": found.areas(), "classes": list(found.classes)}
    files = {"overlay": f"{stem}-overlay.png", "mask": f"{stem}.png", "areas": f"{stem}.json"}
    made = (_png(Image.fromarray(shown)), _png(indexed), json.dumps(numbers, indent=2).encode())
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in zip(files.values(), made, strict=True):
        write_atomically(folder / name, data)
    return {kind: str(folder / name) for kind, name in files.items()}


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
