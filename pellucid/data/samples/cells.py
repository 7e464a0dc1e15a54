"""A drawn blood smear, as under a microscope, with a box around each cell."""

import numpy as np
from PIL import Image

from pellucid.data.samples.canvas import Canvas

CLASSES = ("RBC", "WBC", "Platelets")
CellBox = tuple[str, float, float, float, float]  # the class, and x0, y0, x1, y1 in pixels


def blood_smear(seed: int, width: int = 640, height: int = 480, red: int = 14) -> tuple[Image.Image, list[CellBox]]:
    """Return a picture of a white cell, red cells and platelets, and the box of each cell.

    red: the number of red cells. The cells have the same size, relative to the width, as in the data set bccd.
    """
    rng = np.random.default_rng(seed)
    unit = width / 640
    canvas = Canvas(width, height, (214, 217, 211), rng)
    canvas.pixels += canvas.noise((height, width), 60 * unit, 2.5)[..., None]
    occupied: list[tuple[float, float, float]] = []
    boxes: list[CellBox] = []
    for name, n_cells, min_radius, max_radius, inset in (
        ("WBC", 1, 78, 86, 110),
        ("RBC", red, 44, 53, 30),
        ("Platelets", 3, 15, 20, 30),
    ):
        for _ in range(n_cells):
            radius = rng.uniform(min_radius, max_radius) * unit
            centre = _free_position(rng, occupied, radius, inset * unit, width, height)
            if centre is None:
                continue
            x, y = centre
            {"RBC": _paint_red_cell, "WBC": _paint_white_cell, "Platelets": _paint_platelet}[name](canvas, x, y, radius)
            boxes.append(
                (name, max(x - radius, 0.0), max(y - radius, 0.0), min(x + radius, width), min(y + radius, height))
            )
    return canvas.image(1.0 * unit, 2.5), boxes


def _free_position(
    rng: np.random.Generator, occupied: list[tuple[float, float, float]], radius: float, inset: float, *size: int
) -> tuple[float, float] | None:
    """Return a centre where a cell overlaps others by at most 3 %, and add it to `occupied`; None if none is found."""
    for _ in range(200):
        x, y = (float(rng.uniform(inset, side - inset)) for side in size)
        if all(
            np.hypot(x - other_x, y - other_y) > 0.97 * (radius + other_radius)
            for other_x, other_y, other_radius in occupied
        ):
            occupied.append((x, y, radius))
            return x, y
    return None


def _paint_red_cell(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """Paint a red cell: a disc with a darker rim and a pale middle."""
    unit, ratio, angle = radius / 48, canvas.rng.uniform(0.94, 1.06), canvas.rng.uniform(0, 3.2)
    for fraction, blur, colour, strength in (
        (1.0, 1.2, (184, 138, 146), 0.92),
        (0.86, 5.0, (202, 158, 160), 0.8),
        (0.36, 7.0, (218, 196, 190), 0.9),
    ):
        outline = canvas.ellipse(x, y, fraction * radius * ratio, fraction * radius / ratio, angle, 0.03)
        canvas.paint(canvas.shape(outline, blur=blur * unit), colour, strength)


def _paint_white_cell(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """Paint a white cell: a pale body with a dark nucleus of several lobes."""
    rng, unit = canvas.rng, radius / 82
    body = canvas.ellipse(x, y, radius, 0.96 * radius, rng.uniform(0, 3.2), 0.04)
    canvas.paint(canvas.shape(body, blur=3 * unit), (196, 176, 206), 0.95, 7)
    turns = rng.uniform(0, 6.3) + 1.35 * np.arange(4)
    lobes = [
        canvas.ellipse(x + 36 * unit * np.cos(turn), y + 36 * unit * np.sin(turn), 30 * unit, 25 * unit, turn, 0.12)
        for turn in turns
    ]
    canvas.paint(canvas.shape(*lobes, blur=2 * unit), (104, 68, 172), 0.95, 10)


def _paint_platelet(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """Paint a platelet: a small spot, darker inside."""
    unit = radius / 17
    for fraction, blur, colour, strength in ((0.9, 2.5, (158, 122, 178), 0.8), (0.55, 2.0, (120, 74, 156), 0.7)):
        outline = canvas.ellipse(x, y, fraction * radius, fraction * radius, bumps=0.2)
        canvas.paint(canvas.shape(outline, blur=blur * unit), colour, strength)
