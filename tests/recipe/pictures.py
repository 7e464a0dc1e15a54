"""A small folder of pictures in three classes, which differ in colour."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_colour_folder(root: Path, per_class: int = 20, size: int = 16) -> Path:
    """Write pictures as CLASS/NUMBER.png below `root`, and return `root`."""
    rng = np.random.default_rng(0)
    for index, name in enumerate(("blue", "green", "red")):
        (root / name).mkdir()
        for number in range(per_class):
            pixels = rng.integers(0, 120, (size, size, 3))
            pixels[..., 2 - index] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number}.png")
    return root
