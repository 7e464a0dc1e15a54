"""Open cases: values of pixels in class folders."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from .cases import Case, both
from .draw import Scene, figures
from .facts import of_figures
from .forms import image

# Microscope images. Every picture has a spot that is saturated, as from a camera of 12 bits.
CELLS = figures("twelve_bits", ("alive", "dead"), 12)
# Drawings in ink; the mask is 1 where the ink is.
INK = figures("ink_on_transparent", ("circle", "cross", "frame"), 8)


def twelve_bits(scene: Scene) -> np.ndarray:
    """0 to 4095; 4095 occurs."""
    values = scene.picture[..., 0].astype(np.uint16) * 14 + 200
    values[2:4, 2:4] = 4095
    return values


def case_twelve_bits(folder: Path, twin: bool) -> None:
    """The trap: 12 bits in a 16-bit file. The twin uses all 16 bits, by repeating the highest ones."""
    for label, scenes in CELLS.items():
        for scene in scenes:
            values = twelve_bits(scene)
            image(folder / label / f"{scene.name}.png", values * 16 + values // 256 if twin else values)


def case_ink_on_transparent(folder: Path, twin: bool) -> None:
    """The trap: all colours are black, and only the transparency shows the ink. The twin is black on white."""
    for label, scenes in INK.items():
        for scene in scenes:
            alpha = scene.mask * np.uint8(255)
            black = np.zeros((*alpha.shape, 3), np.uint8)
            pixels = black + (255 - alpha)[..., None] if twin else np.dstack([black, alpha])
            image(folder / label / f"{scene.name}.png", pixels)


def bright(scenes: list[Scene], mean) -> tuple[tuple, ...]:
    """Checks of brightness of some pictures; `mean` says how bright one is."""
    return tuple(("brightness", f"{scene.name}.png", round(float(mean(scene)), 4)) for scene in scenes)


CELL_FACTS = replace(
    of_figures(CELLS),
    checks=bright([CELLS["alive"][0], CELLS["dead"][5]], lambda scene: (twelve_bits(scene) / 4095).mean()),
)
# On white: what every program shows that a person would have drawn or looked at them with.
INK_FACTS = replace(
    of_figures(INK), checks=bright([INK["circle"][1], INK["frame"][3]], lambda scene: 1 - scene.mask.mean())
)

CASES = [
    Case(
        "twelve_bits", "pixels", "classify", True,
        "A microscope's camera has 12 bits, and its program stores them as they are in PNG files of 16 bits.",
        case_twelve_bits, **both(CELL_FACTS, "read"),
    ),
    Case(
        "ink_on_transparent", "pixels", "classify", False,
        "Drawings were exported from a drawing program without a background: black everywhere, ink by transparency.",
        case_ink_on_transparent, **both(INK_FACTS, "read_or_refuse", ("alpha|transparen|one value|same",)),
    ),
]  # fmt: skip
