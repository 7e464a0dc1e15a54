"""Drawn street scenes with a class for each pixel, and drawn walking people with a mask of each person."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from pellucid.data.samples.canvas import Canvas

CLASSES = ("sky", "building", "road", "pavement", "tree", "car", "pedestrian")
_SKIN = ((208, 160, 130), (168, 118, 88), (120, 82, 60))
_CLOTHES = ((40, 44, 60), (150, 50, 46), (60, 90, 140), (205, 200, 190), (70, 110, 80), (30, 30, 34))


def street(seed: int, width: int = 480, height: int = 360) -> tuple[Image.Image, NDArray[np.uint8]]:
    """Return a picture of a street seen from a car, and the index in CLASSES of each pixel (H, W)."""
    # nearness: 0 at the vanishing point, 1 at the lower edge of the picture
    rng = np.random.default_rng(seed)
    canvas = Canvas(width, height, (0, 0, 0), rng)
    labels = np.zeros((height, width), dtype=np.uint8)
    w, h = float(width), float(height)
    vx, vy = w * rng.uniform(0.46, 0.58), h * rng.uniform(0.46, 0.52)  # the vanishing point

    def paint_class(name: str, colour: ArrayLike, *outlines: ArrayLike, grain: float = 0.0) -> None:
        shape = canvas.shape(*outlines)
        canvas.paint(shape, colour, grain=grain)
        labels[shape.window][shape.alpha > 0.5] = CLASSES.index(name)

    fade = np.linspace(0, 1, height)[:, None, None]
    canvas.pixels[:] = np.array((120, 170, 225)) * (1 - fade) + np.array((245, 248, 252)) * fade
    paint_class("road", (84, 88, 96), [(vx, vy), (w * 1.15, h), (-w * 0.15, h)], grain=4)
    for side in (-1, 1):
        edge = vx + side * w * 0.65
        paint_class(
            "pavement",
            (136, 126, 120),
            [(vx, vy), (edge, h), (vx + side * w * 2, h), (vx + side * w * 2, h * 0.6)],
            grain=3,
        )
        for nearness in np.geomspace(0.05, 1.0, 14):  # the joints of the slabs
            y = vy + (h - vy) * nearness
            paint_class(
                "pavement",
                (104, 98, 96),
                [
                    (vx + (edge - vx) * nearness, y),
                    (vx + (edge - vx) * nearness * 3, y - 1),
                    (vx + (edge - vx) * nearness * 3, y + 0.5),
                    (vx + (edge - vx) * nearness, y + 1.5),
                ],
            )
        paint_class("pavement", (176, 172, 166), [(vx, vy), (edge, h), (edge + side * 0.05 * w, h)])
        paint_class("road", (60, 62, 66), [(vx, vy), (edge, h), (edge - side * 0.015 * w, h)])
    for side in (-1, 1):
        _houses(canvas, paint_class, side, vx, vy, w, h)
    for _ in range(2):
        side, nearness = rng.choice((-1, 1)), rng.uniform(0.25, 0.55)
        x, base = vx + side * w * 0.62 * nearness, vy + h * 0.16 * nearness
        size = h * 0.55 * nearness + 0.08 * h
        paint_class("tree", (60, 48, 40), *canvas.limb([(x, base), (x, base - size)], [0.05 * size, 0.03 * size]))
        crowns = [
            canvas.ellipse(
                x + rng.normal(0, 0.25) * size, base - size * rng.uniform(0.7, 1.2), size * 0.26, size * 0.24, bumps=0.3
            )
            for _ in range(9)
        ]
        paint_class("tree", (52, 74, 40), *crowns, grain=26)
    for nearness in np.geomspace(0.08, 1.0, 6):  # the dashes of the middle line
        y0, y1 = vy + (h - vy) * nearness * 0.72, vy + (h - vy) * nearness
        half_width = 0.008 * w * nearness
        dash = [(vx - half_width, y0), (vx + half_width, y0), (vx + 1.5 * half_width, y1), (vx - 1.5 * half_width, y1)]
        paint_class("road", (190, 192, 190), dash)
    for side, nearness in zip(rng.permutation([-1, 1]), (0.28, 0.46), strict=True):
        _car(canvas, paint_class, vx + side * 0.32 * w * nearness, vy + (h - vy) * nearness, 0.30 * w * nearness)
    for side in (-1, 1):
        nearness = rng.uniform(0.3, 0.5)
        base = vy + (h - vy) * nearness
        x = vx + side * (0.7 + 0.55 * nearness) * w * nearness * 1.12
        paint_person(canvas, x, base, 0.62 * h * nearness, partial(paint_class, "pedestrian"))
    canvas.pixels *= 0.92
    return canvas.image(0.8 * width / 480, 3.0), labels


def people(
    seed: int, width: int = 480, height: int = 360, count: int = 3
) -> tuple[Image.Image, list[NDArray[np.bool_]]]:
    """Return a picture of people who walk on a path through a park, and the mask (H, W) of each, the farthest first."""
    rng = np.random.default_rng(seed)
    canvas = Canvas(width, height, (0, 0, 0), rng)
    w, h = float(width), float(height)
    fade = np.linspace(0, 1, height)[:, None, None]
    canvas.pixels[:] = np.array((150, 190, 230)) * (1 - fade) + np.array((236, 240, 246)) * fade
    horizon = 0.42 * h
    hedge = [
        canvas.ellipse(x, horizon - rng.uniform(0.02, 0.2) * h, 0.1 * w, rng.uniform(0.08, 0.16) * h, bumps=0.3)
        for x in np.linspace(0, w, 14)
    ]
    canvas.paint(canvas.shape(*hedge, blur=1.0), (50, 84, 40), grain=24)
    canvas.paint(canvas.shape([(0, horizon), (w, horizon), (w, h), (0, h)]), (96, 132, 66), grain=12)
    canvas.paint(canvas.shape([(0.1 * w, horizon + 0.04 * h), (w, horizon + 0.04 * h), (w, h), (-0.3 * w, h)]),
                 (176, 174, 170), grain=5)  # fmt: skip
    masks: list[NDArray[np.bool_]] = []
    positions = (np.arange(count) + rng.uniform(0.3, 0.7, count)) / count * 0.86 + 0.07
    for x, nearness in zip(rng.permutation(positions), np.sort(rng.uniform(0.55, 0.95, count)), strict=True):
        mask = np.zeros((height, width), dtype=bool)

        def paint(colour: ArrayLike, *outlines: ArrayLike, mask: NDArray[np.bool_] = mask) -> None:
            shape = canvas.shape(*outlines, blur=0.4)
            canvas.paint(shape, colour, grain=5)
            mask[shape.window] |= shape.alpha > 0.5

        base = horizon + 0.08 * h + 0.46 * h * nearness
        shadow = canvas.ellipse(x * w + 0.03 * h, base, 0.16 * h * nearness, 0.018 * h)
        canvas.paint(canvas.shape(shadow, blur=2.0), (70, 72, 70), 0.6)
        paint_person(canvas, x * w, base, 0.66 * h * nearness, paint)
        masks = [*(earlier & ~mask for earlier in masks), mask]
    return canvas.image(0.7, 3.0), masks


def paint_person(canvas: Canvas, x: float, base: float, size: float, paint: Callable[..., None]) -> None:
    """Paint a walking person by calls of paint(colour, *outlines). base: y of the feet; size: the person's height."""
    rng = canvas.rng
    skin_colour, top_colour, legs_colour = (
        colours[rng.integers(len(colours))] for colours in (_SKIN, _CLOTHES, _CLOTHES)
    )
    stride = rng.uniform(0.05, 0.12) * rng.choice((-1, 1))

    def to_pixels(across: float, up: float) -> tuple[float, float]:
        return x + across * size, base - up * size

    for sign in (-1, 1):
        points = [
            to_pixels(0.035 * sign, 0.5),
            to_pixels(0.5 * stride * sign + 0.03 * sign, 0.26),
            to_pixels(stride * sign, 0.03),
        ]
        shade = 0.85 if sign < 0 else 1.0
        paint(np.array(legs_colour) * shade, *canvas.limb(points, [0.115 * size, 0.085 * size, 0.06 * size]))
        foot = to_pixels(stride * sign, 0.02)
        toe = foot[0] + 0.05 * size * np.sign(stride), foot[1] + 0.008 * size
        paint((30, 26, 26), *canvas.limb([foot, toe], [0.04 * size, 0.034 * size]))
    for sign in (-1, 1):
        hand = to_pixels(0.13 * sign - 0.3 * stride * sign, 0.47)
        arm = [to_pixels(0.1 * sign, 0.79), to_pixels(0.14 * sign, 0.62), hand]
        paint(np.array(top_colour) * 0.9, *canvas.limb(arm, [0.07 * size, 0.06 * size, 0.045 * size]))
        paint(skin_colour, canvas.ellipse(*hand, 0.024 * size, 0.03 * size))
    paint(
        top_colour,
        *canvas.limb(
            [to_pixels(0, 0.76), to_pixels(0, 0.62), to_pixels(0, 0.5)], [0.2 * size, 0.18 * size, 0.165 * size]
        ),
    )
    paint(skin_colour, *canvas.limb([to_pixels(0, 0.82), to_pixels(0, 0.88)], [0.07 * size, 0.07 * size]))
    paint(skin_colour, canvas.ellipse(*to_pixels(0, 0.925), 0.056 * size, 0.072 * size))
    paint((40, 30, 26), canvas.ellipse(*to_pixels(-0.1 * stride, 0.955), 0.06 * size, 0.048 * size, bumps=0.1))


def _houses(
    canvas: Canvas, paint_class: Callable[..., None], side: int, vx: float, vy: float, w: float, h: float
) -> None:
    """Paint a row of houses in perspective, on the left (side -1) or right (1) of the street."""
    rng = canvas.rng

    def to_pixels(nearness: float, up: float) -> tuple[float, float]:
        """Return a point of the wall. nearness: 0 at the vanishing point; up: height in eye heights."""
        return vx + side * w * 0.75 * nearness, vy + h * 0.24 * nearness - up * h * 0.4 * nearness

    edges = np.array([0.1, 0.22, 0.42, 0.75, 1.4])
    for near_edge, far_edge in zip(edges[::-1], edges[-2::-1], strict=False):
        wall_height = rng.uniform(2.0, 3.0)
        colour = np.array(((150, 110, 88), (186, 176, 158), (140, 128, 120), (168, 132, 110))[rng.integers(4)])
        colour = colour * (0.62 if side < 0 else 0.85)
        paint_class(
            "building",
            colour,
            [
                to_pixels(far_edge, 0),
                to_pixels(far_edge, wall_height),
                to_pixels(near_edge, wall_height),
                to_pixels(near_edge, 0),
            ],
            grain=6,
        )
        for floor in np.arange(0.55, wall_height - 0.4, 0.62):
            for k in range(4):
                left_edge, right_edge = (far_edge + (near_edge - far_edge) * (k + share) / 4 for share in (0.28, 0.72))
                glass = (44, 50, 60) if rng.random() < 0.8 else (120, 130, 140)
                paint_class(
                    "building",
                    glass,
                    [
                        to_pixels(left_edge, floor),
                        to_pixels(left_edge, floor + 0.36),
                        to_pixels(right_edge, floor + 0.36),
                        to_pixels(right_edge, floor),
                    ],
                )
        paint_class(
            "building",
            colour * 0.5,
            [to_pixels(far_edge, 0), to_pixels(far_edge, 0.4), to_pixels(near_edge, 0.4), to_pixels(near_edge, 0)],
            grain=8,
        )


def _car(canvas: Canvas, paint_class: Callable[..., None], x: float, base: float, size: float) -> None:
    """Paint a car seen from behind. base: y of the bottom of the wheels; size: the car's width."""
    rng = canvas.rng
    colour = np.array(((170, 174, 180), (60, 62, 70), (140, 34, 34), (46, 66, 110), (226, 226, 224))[rng.integers(5)])

    def box(x0: float, y0: float, x1: float, y1: float, taper: float = 0.0) -> list[tuple[float, float]]:
        return [
            (x + (x0 + taper) * size, base - y1 * size), (x + (x1 - taper) * size, base - y1 * size),
            (x + x1 * size, base - y0 * size), (x + x0 * size, base - y0 * size),
        ]  # fmt: skip

    shadow = canvas.shape(canvas.ellipse(x, base, 0.56 * size, 0.06 * size), blur=0.02 * size)
    canvas.paint(shadow, (30, 30, 34), 0.8)
    for left in (-0.46, 0.28):
        paint_class("car", (22, 22, 24), box(left, 0.0, left + 0.18, 0.2))
    paint_class("car", colour * 0.92, box(-0.42, 0.42, 0.42, 0.76, 0.1))
    paint_class("car", colour, box(-0.5, 0.1, 0.5, 0.46, 0.03), grain=3)
    paint_class("car", (48, 58, 68), box(-0.36, 0.46, 0.36, 0.71, 0.08), grain=5)
    for left in (-0.48, 0.36):
        paint_class("car", (190, 40, 36), box(left, 0.3, left + 0.12, 0.4))
    paint_class("car", (214, 206, 150), box(-0.13, 0.2, 0.13, 0.28))
    paint_class("car", colour * 0.6, box(-0.48, 0.1, 0.48, 0.17))
