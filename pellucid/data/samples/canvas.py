"""A canvas to draw pictures with NumPy and Pillow: shapes with soft edges, shading and grain."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

Floats = NDArray[np.float64]
_SCALE = 3  # shapes are drawn at this scale and then reduced, for smooth edges


class Coverage(NamedTuple):
    """The part of a picture that a shape covers: a window of rows and columns, and the coverage in it, 0 to 1."""

    window: tuple[slice, slice]
    alpha: Floats


class Canvas:
    """A picture (H, W, 3) of floats from 0 to 255; positions are x, y in pixels, from the top left corner."""

    def __init__(self, width: int, height: int, colour: ArrayLike, rng: np.random.Generator) -> None:
        self.width, self.height, self.rng = width, height, rng
        self.pixels = np.empty((height, width, 3))
        self.pixels[:] = colour

    def shape(self, *outlines: ArrayLike, blur: float = 0.0) -> Coverage:
        """Return the union of polygons (N, 2), with edges blurred by a Gaussian of `blur` pixels."""
        polygons = [np.asarray(outline, dtype=np.float64) for outline in outlines]
        all_points, margin = np.concatenate(polygons), 3 * blur + 1
        x0, y0 = np.clip(np.floor(all_points.min(0) - margin), 0, (self.width, self.height)).astype(int)
        x1, y1 = np.clip(np.ceil(all_points.max(0) + margin), 0, (self.width, self.height)).astype(int)
        window = (slice(y0, max(y1, y0)), slice(x0, max(x1, x0)))
        if x1 <= x0 or y1 <= y0:
            return Coverage(window, np.zeros((max(y1 - y0, 0), max(x1 - x0, 0))))
        mask = Image.new("L", ((x1 - x0) * _SCALE, (y1 - y0) * _SCALE))
        for polygon in polygons:
            ImageDraw.Draw(mask).polygon([tuple(point) for point in (polygon - (x0, y0)) * _SCALE], fill=255)
        mask = mask.reduce(_SCALE)
        if blur:
            mask = mask.filter(ImageFilter.GaussianBlur(blur))
        return Coverage(window, np.asarray(mask, dtype=np.float64) / 255)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, angle: float = 0.0, bumps: float = 0.0
    ) -> NDArray[np.float64]:
        """Return the outline (N, 2) of an ellipse, turned by `angle` in radians; bumps: relative irregularity."""
        angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        radius = np.ones(72)
        for wave in (2, 3, 4, 5):
            radius += bumps / wave * self.rng.normal() * np.cos(wave * angles + self.rng.uniform(0, 6.3))
        x_offset, y_offset = rx * radius * np.cos(angles), ry * radius * np.sin(angles)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.stack((x + x_offset * cos - y_offset * sin, y + x_offset * sin + y_offset * cos), 1)

    def limb(self, points: ArrayLike, widths: Sequence[float]) -> list[Floats]:
        """Return the outlines of a thick line through points (N, 2), with a width at each and round ends."""
        positions = np.asarray(points, dtype=np.float64)
        outlines = [self.ellipse(x, y, w / 2, w / 2) for (x, y), w in zip(positions, widths, strict=True)]
        for start, end, w0, w1 in zip(positions, positions[1:], widths, widths[1:], strict=False):
            dx, dy = end - start
            side = np.array([-dy, dx]) / max(np.hypot(dx, dy), 1e-9) / 2
            outlines.append(np.stack((start + side * w0, end + side * w1, end - side * w1, start - side * w0)))
        return outlines

    def paint(self, shape: Coverage, colour: ArrayLike, strength: float = 1.0, grain: float = 0.0) -> None:
        """Blend a colour into the picture where a shape covers it; grain: the std of noise in its brightness."""
        alpha = (strength * shape.alpha)[..., None]
        value = np.asarray(colour, dtype=np.float64)
        if grain and alpha.size:
            value = value + self.noise(alpha.shape[:2], 5, grain)[..., None]
        self.pixels[shape.window] = self.pixels[shape.window] * (1 - alpha) + value * alpha

    def shade(self, shape: Coverage, amount: float, angle: float = 0.0) -> None:
        """Multiply the brightness in a shape by 1 - amount to 1 + amount along `angle` (radians, 0 to the right)."""
        rows, columns = np.mgrid[: shape.alpha.shape[0], : shape.alpha.shape[1]]
        along = columns * np.cos(angle) + rows * np.sin(angle)
        along = (along - along.min()) / max(np.ptp(along), 1e-9) * 2 - 1
        self.pixels[shape.window] *= 1 + amount * (along * shape.alpha)[..., None]

    def noise(self, size: tuple[int, int], blob: float, std: float) -> Floats:
        """Return smooth noise (H, W) of mean 0 and standard deviation `std`, in blobs of about `blob` pixels."""
        height, width = size
        coarse = self.rng.normal(size=(int(height / blob) + 2, int(width / blob) + 2)).astype(np.float32)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(smooth, dtype=np.float64) * std

    def image(self, blur: float = 0.6, grain: float = 2.0) -> Image.Image:
        """Return the picture, blurred by `blur` pixels and with noise of standard deviation `grain`, like a photo."""
        flat = Image.fromarray(self.pixels.clip(0, 255).round().astype(np.uint8)).filter(ImageFilter.GaussianBlur(blur))
        noisy = np.asarray(flat) + self.rng.normal(0, grain, self.pixels.shape)
        return Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8))
