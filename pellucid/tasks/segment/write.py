"""Masks as files: the picture under its colours, the classes as an index PNG, and the areas as JSON."""

import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pellucid.tasks.segment.predict import Segmentation
from pellucid.train.files import write_atomically

OPAQUE = 0.55  # of the colours over the picture
GOLDEN = 0.61803398875  # steps round the colour circle by which no two of a few classes look alike


def palette(classes: int) -> Tensor:
    """Return a colour for each class, (classes, 3) uint8: hues a golden section apart, three brightnesses in turn."""
    number = torch.arange(classes)
    hue, value = number * GOLDEN % 1, torch.tensor([1.0, 0.75, 0.5])[number % 3]
    wheel = (hue[:, None] * 6 + torch.tensor([0.0, 4.0, 2.0])) % 6  # (classes, 3)
    full = ((wheel - 3).abs() - 1).clamp(0, 1)
    return ((0.2 + 0.8 * full) * value[:, None] * 255).round().to(torch.uint8)


def overlay(image: Tensor, mask: Tensor, classes: int) -> Tensor:
    """Return a picture (3, H, W) uint8 under the colours of its classes."""
    colours = palette(classes)[mask.long()].permute(2, 0, 1)  # (3, H, W)
    return (image * (1 - OPAQUE) + colours * OPAQUE).round().to(torch.uint8)


def write_segmentation(folder: Path, stem: str, image: Tensor, found: Segmentation) -> dict[str, str]:
    """Write STEM-overlay.png, STEM.png with the class of each pixel, and STEM.json; return their paths by kind.

    The index PNG has the classes as values and their colours as its palette. Each file appears whole or not at all.
    """
    indexed = Image.fromarray(found.mask.numpy())
    indexed.putpalette(palette(len(found.classes)).flatten().tolist())
    shown = overlay(image, found.mask, len(found.classes)).permute(1, 2, 0).numpy()
    height, width = found.mask.shape
    numbers = {"height": height, "width": width, "areas": found.areas(), "classes": list(found.classes)}
    files = {"overlay": f"{stem}-overlay.png", "mask": f"{stem}.png", "areas": f"{stem}.json"}
    made = (_png(Image.fromarray(np.ascontiguousarray(shown))), _png(indexed), json.dumps(numbers, indent=2).encode())
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in zip(files.values(), made, strict=True):
        write_atomically(folder / name, data)
    return {kind: str(folder / name) for kind, name in files.items()}


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
