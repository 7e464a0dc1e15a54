"""Reading a folder of pictures with angles.csv, lines FILE,DEGREES."""

import csv
from pathlib import Path

import torch

from pellucid import PellucidError, load_image
from pellucid.data import Arrays

ANGLES_FILE = "angles.csv"
TEST_FRACTION = 0.2


def read(folder: Path, size: int, mode: str) -> tuple[Arrays, Arrays]:
    """Return the training and the test part; raise PellucidError, which names the line, for invalid data."""
    images, angles = [], []
    with (folder / ANGLES_FILE).open(encoding="utf-8", newline="") as file:
        for number, line in enumerate(csv.reader(file), 1):
            location = f"{folder / ANGLES_FILE}, line {number}"
            if len(line) != 2:
                raise PellucidError(f"{location} has {len(line)} values; write FILE,DEGREES")
            try:
                angles.append(float(line[1]) % 360)
            except ValueError as error:
                raise PellucidError(f"{location}: {line[1]!r:.40} is no angle; write degrees such as 90") from error
            images.append(load_image(folder / line[0], size=(size, size), mode=mode))
    if len(images) < 10:
        raise PellucidError(f"{folder / ANGLES_FILE} lists {len(images)} pictures; give at least 10")
    x, y = torch.stack(images), torch.tensor(angles)
    n_test = int(len(x) * TEST_FRACTION)
    return tuple(
        Arrays(x[part], y[part], None, f"upright {folder.name} {part} {float(y[part].sum())}")
        for part in (slice(n_test, None), slice(0, n_test))
    )
