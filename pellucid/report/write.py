"""Writing pages, figures and the numbers that they show."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
from matplotlib.figure import Figure

from pellucid.errors import PellucidError
from pellucid.files import make_folder, write_atomically
from pellucid.report.figures.style import png
from pellucid.text import printable


def write_page(path: Path, html: str, figures: Mapping[str, Figure | None]) -> Path:
    """Write a page, and beside it its pictures as figures/*.png; return its path. PellucidError where that fails."""
    folder = make_folder(path.parent / "figures")
    for name, figure in figures.items():
        if figure is not None:
            write_atomically(folder / f"{name}.png", png(figure), durable=False)
    write_atomically(path, html.encode("utf-8"))
    return path


def write_picture(folder: Path, name: str, figure: Figure, numbers: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write NAME.png, and NAME.npz with the numbers that it shows; return both.

    The arrays of the .npz keep their shape and dtype; `numpy.load` reads them.
    """
    drawn, kept = folder / f"{name}.png", folder / f"{name}.npz"
    write_atomically(drawn, png(figure), durable=False)
    write_atomically(kept, packed(numbers), durable=False)
    return drawn, kept


def packed(numbers: Mapping[str, Any]) -> bytes:
    """Return arrays by name as the bytes of an .npz file; names, such as those of classes, may be any text."""
    arrays = {name: np.asarray(value) for name, value in numbers.items()}
    for name, array in arrays.items():
        if array.dtype == object:
            raise PellucidError(f"{name!r} is not an array of numbers; give tensors, numbers or text")
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED) as file:  # as np.savez_compressed, which cannot store an array named "file"
        for name, array in arrays.items():
            member = f"{printable(name).replace('/', '_')}.npy"
            with file.open(member, "w", force_zip64=True) as place:
                np.lib.format.write_array(place, array, allow_pickle=False)
    return buffer.getvalue()
