"""Drawn mice, several in a picture, as a camera above them sees them, with their key-points."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from pellucid.data.samples.canvas import Canvas

POINTS = ("snout", "left_ear", "right_ear", "tail_base")
FUR = ((70, 62, 56), (126, 116, 106), (216, 210, 202), (150, 108, 74))
CELL = 80  # pixels: mice are drawn in the cells of a grid, so that they do not overlap


class Mouse(NamedTuple):
    """A drawn mouse: its box x0, y0, x1, y1 without the tail, and x and y of each of POINTS."""

    box: tuple[float, float, float, float]
    points: list[tuple[float, float]]


def mice(seed: int, count: int, width: int = 240, height: int = 160) -> tuple[Image.Image, list[Mouse]]:
    """Return a picture of `count` mice, at most as many as there are cells, and the mice."""
    rng = np.random.default_rng(seed)
    canvas = Canvas(width, height, np.array((188, 176, 150)) * rng.uniform(0.8, 1.1), rng)
    canvas.pixels += canvas.noise((height, width), 12, 6)[..., None]
    columns, rows = width // CELL, height // CELL
    drawn_mice: list[Mouse] = []
    for cell in rng.permutation(columns * rows)[:count].tolist():
        length = float(rng.uniform(40, 52))  # of the body
        x = CELL * (cell % columns + 0.5) + float(rng.uniform(-6, 6))
        y = CELL * (cell // columns + 0.5) + float(rng.uniform(-6, 6))
        drawn_mice.append(_draw(canvas, x, y, length, float(rng.uniform(0, 2 * np.pi))))
    return canvas.image(), drawn_mice


def _draw(canvas: Canvas, x: float, y: float, length: float, angle: float) -> Mouse:
    """Draw a mouse with its middle at x, y; angle: of its body in radians, 0 if the snout points to the right."""
    rng = canvas.rng
    cos, sin = np.cos(angle), np.sin(angle)

    def to_pixels(along: float, across: float) -> tuple[float, float]:
        """Return a position given in lengths of the body, towards the snout and towards the right ear."""
        return (
            float(x + length * (along * cos - across * sin)),
            float(y + length * (along * sin + across * cos)),
        )

    fur = np.array(FUR[rng.integers(len(FUR))]) * rng.uniform(0.9, 1.1)
    bend = float(rng.uniform(-0.25, 0.25))
    tail_points = [to_pixels(-0.45, 0), to_pixels(-0.6, bend), to_pixels(-0.72, -bend)]
    tail = canvas.limb(tail_points, [0.07 * length, 0.05 * length, 0.03 * length])
    canvas.paint(canvas.shape(*tail, blur=0.5), (196, 150, 140))
    spine = [to_pixels(-0.4, 0), to_pixels(-0.15, 0), to_pixels(0.2, 0), to_pixels(0.5, 0)]
    body = canvas.limb(spine, [0.22 * length, 0.44 * length, 0.32 * length, 0.06 * length])
    shadow = [np.asarray(outline) + 0.04 * length for outline in body]
    canvas.paint(canvas.shape(*shadow, blur=2), (60, 56, 48), 0.5)
    body_shape = canvas.shape(*body, blur=0.8)
    canvas.paint(body_shape, fur, grain=6)
    canvas.shade(body_shape, 0.12, angle)
    ears = [to_pixels(0.24, -0.15), to_pixels(0.24, 0.15)]  # left, right, seen from above
    ear_outlines = [canvas.ellipse(*ear, 0.1 * length, 0.1 * length) for ear in ears]
    canvas.paint(canvas.shape(*ear_outlines, blur=0.6), fur * 0.5 + np.array((110, 70, 70)) * 0.5)
    for across in (-0.06, 0.06):
        eye = canvas.ellipse(*to_pixels(0.38, across), 0.025 * length, 0.025 * length)
        canvas.paint(canvas.shape(eye, blur=0.3), (10, 10, 10))
    nose = canvas.ellipse(*to_pixels(0.52, 0), 0.03 * length, 0.03 * length)
    canvas.paint(canvas.shape(nose, blur=0.3), (220, 150, 150))
    covered_points = np.concatenate([*body, *ear_outlines, nose])
    low, high = covered_points.min(0).clip(0), covered_points.max(0).clip(max=(canvas.width, canvas.height))
    points = [to_pixels(0.52, 0), *ears, to_pixels(-0.45, 0)]
    return Mouse((float(low[0]), float(low[1]), float(high[0]), float(high[1])), points)
