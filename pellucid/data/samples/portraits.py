"""Drawn faces and hands, each filling its picture."""

import numpy as np
from PIL import Image

from pellucid.data.samples.canvas import Canvas

_FINGERS = (  # of a hand seen from its palm, in sides of the palm: root (x, y), tip (x, y), widths at root and tip
    ((-0.42, 0.1), (-1.2, -0.3), (0.4, 0.26)),  # the thumb
    ((-0.34, -0.45), (-0.62, -1.4), (0.31, 0.22)),
    ((-0.11, -0.5), (-0.14, -1.62), (0.32, 0.23)),
    ((0.13, -0.48), (0.3, -1.48), (0.31, 0.22)),
    ((0.36, -0.38), (0.86, -1.12), (0.28, 0.19)),
)
# The 68 key-points of a face in a picture of 224x224, in the order of the data set faces: jaw, brows, nose, eyes and
# mouth. x is relative to the vertical middle line. The points of the other half of the face are mirror images.
_JAW = ((-74, 100), (-74, 118), (-71, 136), (-66, 153), (-58, 170), (-46, 184), (-32, 196), (-16, 203), (0, 205))
_BROW = ((-57, 82), (-46, 76), (-36, 75), (-26, 76), (-15, 80))
_NOSE = ((0, 100), (0, 112), (0, 124), (0, 136), (-14, 146), (-7, 149), (0, 151), (7, 149), (14, 146))
_EYE = ((-51, 103), (-41, 95), (-30, 95), (-20, 104), (-29, 108.5), (-41, 108.5))
_MOUTH = (
    (-28, 171), (-18, 167), (-8, 164.5), (0, 166.5), (8, 164.5), (18, 167), (28, 171), (17, 178.5), (8, 181.5),
    (0, 182), (-8, 181.5), (-17, 178.5), (-24, 171), (-9, 171.8), (0, 171.5), (9, 171.8), (24, 171), (9, 172.8),
    (0, 172.6), (-9, 172.8),
)  # fmt: skip
_FACE_POINTS = (
    *_JAW, *((-x, y) for x, y in _JAW[-2::-1]), *_BROW, *((-x, y) for x, y in _BROW[::-1]), *_NOSE, *_EYE,
    *((-_EYE[k][0], _EYE[k][1]) for k in (3, 2, 1, 0, 5, 4)), *_MOUTH,
)  # fmt: skip


def hand(seed: int, size: int = 200) -> Image.Image:
    """Return a picture of an open hand in front of a plain wall, which is class "5" in the data set signs."""
    rng = np.random.default_rng(seed)
    canvas = Canvas(size, size, (0, 0, 0), rng)
    rows, columns = np.mgrid[:size, :size] / size - 0.5
    light = 212 - 90 * (rows**2 + columns**2) + canvas.noise((size, size), size / 4, 2.0)
    canvas.pixels[:] = light[..., None] * np.array((0.985, 0.975, 1.0))
    unit, x, y = 0.25 * size, size * rng.uniform(0.49, 0.53), size * rng.uniform(0.6, 0.64)
    turn = rng.uniform(-0.08, 0.08)
    cos, sin = np.cos(turn), np.sin(turn)

    def to_pixels(across: float, down: float) -> tuple[float, float]:
        return x - unit * (across * cos - down * sin), y + unit * (across * sin + down * cos)

    skin = np.array((186, 136, 104)) * rng.uniform(0.92, 1.08)
    fingers = []
    for root, tip, (w0, w1) in _FINGERS:
        middle = tuple(start + 0.5 * (end - start) for start, end in zip(root, tip, strict=True))
        fingers.append(
            canvas.limb(
                [to_pixels(*root), to_pixels(*middle), to_pixels(*tip)], [unit * w0, unit * (w0 + w1) / 2.05, unit * w1]
            )
        )
    palm = [
        *canvas.limb([to_pixels(-0.28, -0.42), to_pixels(-0.2, 0.36)], [0.34 * unit, 0.42 * unit]),
        *canvas.limb([to_pixels(0.02, -0.42), to_pixels(0.02, 0.4)], [0.5 * unit, 0.6 * unit]),
        *canvas.limb([to_pixels(0.3, -0.36), to_pixels(0.2, 0.36)], [0.34 * unit, 0.42 * unit]),
        *canvas.limb([to_pixels(-0.24, 0.3), to_pixels(-0.42, 0.02)], [0.5 * unit, 0.3 * unit]),
        *canvas.limb([to_pixels(0, 0.4), to_pixels(0.02, 2.2)], [0.62 * unit, 0.66 * unit]),
    ]
    outlines = [*palm, *(part for finger in fingers for part in finger)]
    shadow = canvas.shape(*(np.asarray(part) + 0.05 * unit for part in outlines), blur=0.06 * unit)
    canvas.paint(shadow, (110, 104, 104), 0.55)
    hand_shape = canvas.shape(*outlines, blur=0.4)
    canvas.paint(hand_shape, skin * 0.3)  # a dark edge, as round limbs have
    inner_shape = canvas.shape(*(_shrunk(part, 0.93) for part in outlines), blur=0.045 * unit)
    canvas.paint(inner_shape, skin, 0.95, 4)
    canvas.shade(hand_shape, 0.1, 0.5)
    for crease in (
        [to_pixels(-0.38, -0.1), to_pixels(-0.1, -0.18), to_pixels(0.3, -0.2)],
        [to_pixels(-0.36, -0.02), to_pixels(0.0, 0.06), to_pixels(0.2, 0.26)],
        [to_pixels(-0.3, -0.1), to_pixels(-0.14, 0.2), to_pixels(-0.16, 0.46)],
    ):
        canvas.paint(canvas.shape(*canvas.limb(crease, [0.03 * unit] * 3), blur=0.02 * unit), skin * 0.62, 0.7)
    for root, tip, (w0, w1) in _FINGERS:
        for fraction in (0.32, 0.66):
            (ax, ay), (bx, by) = root, tip
            mx, my, width = ax + fraction * (bx - ax), ay + fraction * (by - ay), 0.4 * (w0 + fraction * (w1 - w0))
            line = canvas.limb([to_pixels(mx - width, my), to_pixels(mx + width, my)], [0.02 * unit] * 2)
            canvas.paint(canvas.shape(*line, blur=0.02 * unit), skin * 0.66, 0.6)
    return canvas.image(0.005 * size, 2.0)


def face(seed: int, size: int = 224, max_variation: float = 0.0) -> tuple[Image.Image, list[tuple[float, float]]]:
    """Return a picture of a face, seen from the front, and its 68 key-points: x, y in pixels.

    The face fills the picture, unless it is reduced by a random fraction of at most `max_variation` and then moved.
    """
    rng = np.random.default_rng(seed)
    unit = size / 224 * (1 - rng.uniform(0, max_variation))
    left, top = rng.uniform(0, 1, 2) * (size - 224 * unit)
    canvas = Canvas(size, size, np.array((92, 96, 104)) * rng.uniform(0.7, 1.1), rng)
    canvas.pixels += canvas.noise((size, size), 40 * unit, 8)[..., None]
    skin = np.array(((214, 168, 140), (190, 140, 112), (150, 106, 80))[rng.integers(3)], dtype=np.float64)
    hair = np.array(((44, 32, 26), (90, 62, 40), (30, 28, 30))[rng.integers(3)])
    middle = 112.0 + rng.uniform(-3, 3)

    def to_pixels(x: float, y: float) -> tuple[float, float]:
        return left + (middle + x) * unit, top + y * unit

    def paint_spot(
        x: float, y: float, rx: float, ry: float, colour: object, blur: float = 1.0, strength: float = 1.0
    ) -> None:
        outline = canvas.ellipse(*to_pixels(x, y), rx * unit, ry * unit)
        canvas.paint(canvas.shape(outline, blur=blur * unit), np.asarray(colour), strength)

    def paint_line(
        points: list[tuple[float, float]], width: float, colour: object, blur: float, strength: float
    ) -> None:
        outlines = canvas.limb([to_pixels(*point) for point in points], [width * unit] * len(points))
        canvas.paint(canvas.shape(*outlines, blur=blur * unit), np.asarray(colour), strength)

    paint_spot(0, 92, 88, 92, hair, 2)  # hair behind the head
    shoulders = canvas.shape(
        *canvas.limb([to_pixels(-70, 252), to_pixels(0, 290), to_pixels(70, 252)], [96 * unit, 160 * unit, 96 * unit]),
        blur=unit,
    )
    canvas.paint(shoulders, (50, 60, 84), grain=4)
    canvas.paint(
        canvas.shape(*canvas.limb([to_pixels(0, 170), to_pixels(0, 230)], [66 * unit, 74 * unit]), blur=unit),
        skin * 0.72,
    )
    for side in (-1, 1):
        paint_spot(76 * side, 116, 10, 19, skin * 0.86)
    head = np.array([
        (-72, 60), (-76, 100), (-73, 130), (-66, 156), (-52, 180), (-32, 197), (-12, 205), (12, 205), (32, 197),
        (52, 180), (66, 156), (73, 130), (76, 100), (72, 60), (54, 34), (0, 22), (-54, 34),
    ])  # fmt: skip
    oval = canvas.shape([to_pixels(x, y) for x, y in head], blur=2 * unit)
    canvas.paint(oval, skin, grain=3)
    canvas.shade(oval, 0.08, rng.uniform(-0.5, 0.5))
    for side in (-1, 1):
        paint_spot(52 * side, 150, 20, 30, skin * 0.88, 10, 0.6)
    fringe = canvas.shape([to_pixels(x, y) for x, y in (
        (-84, 96), (-74, 60), (-40, 52), (6, 44), (44, 54), (76, 62), (84, 96), (88, 50), (50, 6), (0, -4),
        (-50, 6), (-88, 50),
    )], blur=2 * unit)  # fmt: skip
    canvas.paint(fringe, hair, grain=6)
    for side in (-1, 1):
        paint_spot(35 * side, 100, 24, 13, skin * 0.84, 4, 0.7)  # the socket
        paint_line([(57 * side, 83), (44 * side, 76), (28 * side, 76), (15 * side, 81)], 6, hair * 0.8 + 6, 1.0, 0.9)
        paint_spot(35 * side, 102, 15, 7, (236, 230, 226), 0.7)
        paint_spot(35 * side, 101.5, 7, 7, (84, 62, 46), 0.6)
        paint_spot(35 * side, 101.5, 3.4, 3.4, (16, 14, 14), 0.4)
        paint_spot(35 * side + 2, 99, 1.5, 1.5, (250, 250, 250), 0.3)
        paint_line(
            [(20 * side, 104), (27 * side, 96), (36 * side, 94), (45 * side, 96), (51 * side, 102)],
            2.6,
            (40, 28, 24),
            0.5,
            0.9,
        )
        paint_line([(22 * side, 106), (35 * side, 110), (49 * side, 104)], 1.2, skin * 0.55, 0.5, 0.8)
        paint_line([(9 * side, 92), (8 * side, 118), (13 * side, 136)], 4, skin * 0.86, 2.5, 0.7)
        paint_spot(8 * side, 146, 4.5, 2.6, skin * 0.42, 1.0)
        paint_line([(15 * side, 138), (17 * side, 144), (12 * side, 148)], 2.2, skin * 0.68, 1.0, 0.8)
        paint_line([(22 * side, 146), (33 * side, 162)], 3, skin * 0.82, 2.0, 0.7)
    paint_line([(0, 88), (0, 134)], 6, skin * 1.1, 3, 0.7)
    paint_spot(0, 138, 9, 7, skin * 1.07, 3, 0.8)
    paint_line([(-8, 149), (0, 151), (8, 149)], 2, skin * 0.68, 1.0, 0.8)
    lips = np.array((176, 92, 88)) * (skin.mean() / 174)
    upper = [(-28, 171), (-10, 164.5), (0, 166.5), (10, 164.5), (28, 171), (10, 172), (-10, 172)]
    lower = [(-28, 171), (-10, 173), (10, 173), (28, 171), (14, 180), (0, 182), (-14, 180)]
    canvas.paint(canvas.shape([to_pixels(*point) for point in upper], blur=0.8 * unit), lips * 0.86)
    canvas.paint(canvas.shape([to_pixels(*point) for point in lower], blur=0.8 * unit), lips)
    paint_line([(-28, 171), (-10, 172.4), (0, 171.8), (10, 172.4), (28, 171)], 1.8, lips * 0.45, 0.5, 0.9)
    paint_spot(0, 190, 20, 4, skin * 0.86, 3, 0.6)
    return canvas.image(0.9 * unit, 2.5), [to_pixels(*position) for position in _FACE_POINTS]


def _shrunk(outline: np.ndarray, factor: float) -> np.ndarray:
    """Return an outline scaled about its middle."""
    middle = outline.mean(0)
    return middle + (outline - middle) * factor
