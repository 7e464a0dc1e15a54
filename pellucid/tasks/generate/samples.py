"""Samples of a generator as an image file."""

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.files import make_folder, write_atomically
from pellucid.generators import Generator
from pellucid.model import Model
from pellucid.report.figures.samples import montage
from pellucid.tasks.outputs import png

COLUMNS = 16
WHITE = 255


def is_generator(model: Model) -> bool:
    """Return whether a model draws images from latent vectors."""
    return isinstance(model.objective, Generator)


def write_samples(path: Path, images: Tensor) -> Path:
    """Write images (n, 1 or 3, H, W), values 0..1, side by side as a PNG file; return its path."""
    if path.suffix.lower() != ".png":
        raise PellucidError(f"{path}: samples are written as PNG; end the name in .png")
    grid = montage(images, min(COLUMNS, len(images)))
    pixels = np.round(np.clip(grid, 0, 1) * WHITE).astype(np.uint8)
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
    make_folder(path.parent)
    write_atomically(path, png(image))
    return path
