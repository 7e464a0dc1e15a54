"""Pictures for the tests of the data package."""

import io

from PIL import Image


def picture_bytes(colour: tuple[int, int, int], size: tuple[int, int] = (6, 4), kind: str = "PNG") -> bytes:
    """Return the file contents of a picture of one colour; `size` is (width, height)."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()
