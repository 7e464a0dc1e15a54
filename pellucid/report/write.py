"""Write figures as PNG files, and arrays as .npz files."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
from matplotlib.figure import Figure

from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically
from pellucid.base.text import printable
from pellucid.report.figures.style import png


def write_picture(folder: Path, name: str, figure: Figure, numbers: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write NAME.png, and NAME.npz with the arrays in `numbers`; return both paths.

    The arrays keep their shapes and dtypes; read them by `numpy.load`.
    """
    image_path, values_path = folder / f"{name}.png", folder / f"{name}.npz"
    write_atomically(image_path, png(figure), durable=False)
    write_atomically(values_path, npz_bytes(numbers), durable=False)
    return image_path, values_path


def npz_bytes(numbers: Mapping[str, Any]) -> bytes:
    """Return arrays by name as the bytes of an .npz file; names may be any text, such as class names."""
    arrays = {name: np.asarray(value) for name, value in numbers.items()}
    for name, array in arrays.items():
        if array.dtype == object:
            raise PellucidError(f"{name!r} is not an array of numbers; give tensors, numbers or text")
    buffer = io.BytesIO()
    with ZipFile(
        buffer, "w", ZIP_DEFLATED
    ) as archive:  # not np.savez_compressed, which cannot store an array named "file"
        for name, array in arrays.items():
            member = f"{printable(name).replace('/', '_')}.npy"
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)
    return buffer.getvalue()
