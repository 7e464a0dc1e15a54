"""Pictures inside pages."""

import base64
import io
from typing import NamedTuple

from PIL import Image
from torch import Tensor

MAX_ENLARGED = 8  # so that the pixels of small pictures can be seen


class Embedded(NamedTuple):
    """A picture as a data URI, and its width and height on the page in pixels."""

    source: str
    width: int
    height: int


def embedded(image: Tensor, side: int) -> Embedded:
    """Return a picture (3, H, W) uint8 with a longest side of `side` pixels on the page.

    Larger ones are reduced, smaller ones shown enlarged by a whole number.
    """
    _, height, width = image.shape
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    factor = side / max(height, width)
    if factor < 1:
        height, width = max(1, round(height * factor)), max(1, round(width * factor))
        picture = picture.resize((width, height), Image.Resampling.BOX)
    file = io.BytesIO()
    picture.save(file, "PNG")
    enlarged = max(1, min(int(factor), MAX_ENLARGED))
    uri = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Embedded(uri, width * enlarged, height * enlarged)
