"""Synthetic photos, all different, and typical modified copies: resized, compressed, cropped, brighter."""

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from torch import Tensor

WIDTH, HEIGHT = 160, 120


def photo(seed: int) -> Image.Image:
    """Return a sharp picture of patches, shapes and grain, drawn with the seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(40, 216, (4, 5, 3), dtype=np.uint8))
    image = coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(9):
        x, y = rng.integers(0, WIDTH), rng.integers(0, HEIGHT)
        w, h = rng.integers(10, 60, 2)
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(
            (x - w // 2, y - h // 2, x + w // 2, y + h // 2), colour
        )
    grain = rng.normal(0, 4, (HEIGHT, WIDTH, 1))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def file_of(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def thumbnail(image: Image.Image) -> Tensor:
    """Return the input of the search for near duplicates: (64, 64) uint8 grey."""
    return torch.from_numpy(np.array(image.convert("L").resize((64, 64), Image.Resampling.BILINEAR)))


def crop_edges(image: Image.Image, fraction: float) -> Image.Image:
    """Cut `fraction` off at each edge, and resize the rest to the original size."""
    w, h = image.size
    x, y = round(w * fraction), round(h * fraction)
    return image.crop((x, y, w - x, h - y)).resize((w, h), Image.Resampling.BILINEAR)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": lambda image: image.resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.BILINEAR),
    "one and a half": lambda image: image.resize((WIDTH * 3 // 2, HEIGHT * 3 // 2), Image.Resampling.BICUBIC),
    "poor JPEG": lambda image: Image.open(io.BytesIO(file_of(image, "JPEG", quality=30))),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.85),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "grey": lambda image: image.convert("L"),
    "cut": lambda image: crop_edges(image, 0.03),
    "turned": lambda image: image.rotate(2, Image.Resampling.BILINEAR, fillcolor=image.getpixel((0, 0))),
    "soft": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
}
