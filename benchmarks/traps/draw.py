"""Small drawn pictures with known classes, boxes, masks and points. Every picture differs, so that none is a copy."""

import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

COLOURS = ((220, 60, 50), (60, 200, 80), (70, 90, 230), (230, 210, 60))


@dataclass(frozen=True)
class Thing:
    """An object: its class, and its corners in whole pixels."""

    label: str
    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def corners(self) -> tuple[int, int, int, int]:
        return self.x0, self.y0, self.x1, self.y1


@dataclass(frozen=True)
class Scene:
    """A picture with what is known of it; `name` is the file's name without suffix."""

    name: str
    picture: np.ndarray
    things: tuple[Thing, ...] = ()
    mask: np.ndarray | None = None
    points: tuple[tuple[int, int], ...] = ()

    @property
    def height(self) -> int:
        return self.picture.shape[0]

    @property
    def width(self) -> int:
        return self.picture.shape[1]


def generator(case: str) -> np.random.Generator:
    """Random numbers of a case: always the same, and other ones for each case."""
    return np.random.default_rng(zlib.crc32(case.encode()))


def ground(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A background: a slope of grey with noise, (height, width, 3) of uint8."""
    slope = np.linspace(0, rng.integers(10, 50), width) + np.linspace(0, rng.integers(10, 50), height)[:, None]
    grey = rng.integers(50, 90) + slope + rng.normal(0, 8, (height, width))
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def paint(picture: np.ndarray, corners: tuple[int, int, int, int], colour: tuple[int, int, int]) -> None:
    """Fill a box of a picture, with some of the noise below it left."""
    x0, y0, x1, y1 = corners
    below = picture[y0:y1, x0:x1].astype(float)
    picture[y0:y1, x0:x1] = np.clip(0.2 * below + 0.8 * np.array(colour), 0, 255).astype(np.uint8)


def boxes(case: str, stem: str, labels: tuple[str, ...], count: int, low: bool = False) -> list[Scene]:
    """Pictures of 64 x 48 with two boxes each, one in each half, so that none cover each other.

    With `low`, the boxes lie in the lower right of their half: there a box whose corners are taken for a corner and a
    size leaves the picture.
    """
    rng, scenes = generator(case), []
    for number in range(count):
        picture, things = ground(rng, 64, 48), []
        for half in range(2):
            wide, high = (int(value) for value in rng.integers(10, 20, 2))
            x0 = 32 * half + int(rng.integers(6 if low else 2, 31 - wide))
            y0 = int(rng.integers(22 if low else 2, 47 - high))
            kind = (number + half * (1 + number // 2)) % len(labels)
            things.append(Thing(labels[kind], x0, y0, x0 + wide, y0 + high))
            paint(picture, things[-1].corners, COLOURS[kind])
        scenes.append(Scene(f"{stem}_{number:02d}", picture, tuple(things)))
    return scenes


def faces(case: str, stem: str, count: int, points: int = 4) -> list[Scene]:
    """Square pictures of 64 x 64 with one disc that fills them, and dots on it: two eyes, mouth, nose, and then ears.

    The dots' distances differ on the left and on the right, so that exchanged points are noticed.
    """
    rng, scenes = generator(case), []
    for number in range(count):
        picture = Image.fromarray(ground(rng, 64, 64))
        x, y = (int(value) for value in rng.integers(-3, 4, 2))
        corners = (x + 6, y + 6, x + 58, y + 58)
        draw = ImageDraw.Draw(picture)
        draw.ellipse(corners, fill=(210, 170, 140))
        places = ((20, 24), (42, 22), (34, 46), (31, 34), (9, 30), (54, 32))[:points]
        dots = tuple((x + px + int(rng.integers(-2, 3)), y + py + int(rng.integers(-2, 3))) for px, py in places)
        for kind, (px, py) in enumerate(dots):
            draw.ellipse((px - 2, py - 2, px + 2, py + 2), fill=COLOURS[kind % 4])
        scenes.append(Scene(f"{stem}_{number:02d}", np.array(picture), (Thing("face", *corners),), points=dots))
    return scenes


def streets(case: str, stem: str, count: int) -> list[Scene]:
    """Pictures of 64 x 48 with masks: 0 above, 1 below a line, and a box of 2 that stands on the line."""
    rng, scenes = generator(case), []
    for number in range(count):
        picture, mask = ground(rng, 64, 48), np.zeros((48, 64), np.uint8)
        line, left, wide = int(rng.integers(18, 30)), int(rng.integers(4, 34)), int(rng.integers(12, 24))
        mask[line:] = 1
        mask[line - 8 : line + 8, left : left + wide] = 2
        for kind in range(3):
            picture[mask == kind] = 0.3 * picture[mask == kind] + 0.7 * np.array(COLOURS[2 - kind])
        scenes.append(Scene(f"{stem}_{number:02d}", picture, mask=mask))
    return scenes


def figures(case: str, labels: tuple[str, ...], count: int, size: int = 48) -> dict[str, list[Scene]]:
    """For each class `count` grey pictures: a disc, a cross or a frame. The mask is 1 where the figure is."""
    rng, found = generator(case), {}
    for kind, label in enumerate(labels):
        found[label] = []
        for number in range(count):
            mask = figure(rng, kind, size)
            grey = ground(rng, size, size)[..., 0].astype(float) + mask * 110
            picture = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
            found[label].append(Scene(f"{label}_{number:02d}", picture, mask=mask))
    return found


def figure(rng: np.random.Generator, kind: int, size: int) -> np.ndarray:
    """1 where a figure of this kind is, at a random place and of a random size."""
    image = Image.new("L", (size, size))
    draw = ImageDraw.Draw(image)
    radius = int(rng.integers(size // 5, size // 3))
    x, y = (int(value) for value in rng.integers(radius + 1, size - radius - 1, 2))
    if kind == 0:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    elif kind == 1:
        draw.line((x - radius, y, x + radius, y), fill=1, width=5)
        draw.line((x, y - radius, x, y + radius), fill=1, width=5)
    else:
        draw.rectangle((x - radius, y - radius, x + radius, y + radius), outline=1, width=4)
    return np.array(image)
