"""Pictures for the tests of the data package."""

import io
from typing import Any

import numpy as np
from PIL import Image


def picture_bytes(colour: tuple[int, int, int], size: tuple[int, int] = (6, 4), kind: str = "PNG") -> bytes:
    """Return the file contents of a picture of one colour; `size` is (width, height)."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


def grey_bytes(values: Any, kind: str = "PNG", **options: Any) -> bytes:
    """Return the file contents of a grey picture with these values (H, W), such as a mask; options: of Pillow."""
    out = io.BytesIO()
    array = np.array(values)
    Image.fromarray(array.astype(np.uint8) if array.dtype == np.int64 else array).save(out, kind, **options)
    return out.getvalue()
