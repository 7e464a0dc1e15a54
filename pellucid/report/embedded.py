"""Images as the bytes of files, and embedded in pages."""

import base64
import io
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_ENLARGEMENT = 8  # factor by which small images are enlarged


class Embedded(NamedTuple):
    """An image as a data URI, and its width and height on the page in pixels."""

    source: str
    width: int
    height: int


def embedded(image: Tensor, side: int) -> Embedded:
    """Return an image (3, H, W) uint8 for a page, on which its longer side has at most `side` pixels.

    Larger images are reduced to `side`; smaller ones are displayed enlarged by an integer factor, at most
    MAX_ENLARGEMENT.
    """
    _, height, width = image.shape
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    factor = side / max(height, width)
    if factor < 1:
        height, width = max(1, round(height * factor)), max(1, round(width * factor))
        picture = picture.resize((width, height), Image.Resampling.BOX)
    enlargement = max(1, min(int(factor), MAX_ENLARGEMENT))
    return Embedded(data_uri(picture), width * enlargement, height * enlargement)


def embedded_figure(figure: "Figure") -> Embedded:
    """Return a matplotlib figure for a page, in the size that it was drawn for."""
    from pellucid.report.figures.style import png

    data = png(figure)
    return Embedded(_png_uri(data), *Image.open(io.BytesIO(data)).size)


def encoded(picture: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """Return a picture as the bytes of a file; options: arguments of Pillow's `save`."""
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def data_uri(picture: Image.Image, **options: Any) -> str:
    """Return a picture as the data URI of a PNG; options: as for `encoded`."""
    return _png_uri(encoded(picture, **options))


def _png_uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
