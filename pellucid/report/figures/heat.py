"""An explanation as a picture: the image, the map with its colour bar, and both in one."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from pellucid.errors import PellucidError
from pellucid.report.figures.colours import scale
from pellucid.report.figures.style import INK, SMALL, TEXT, picture_axes

SIDE = 2.6  # inches of a picture
GAP, BAR, TOP, LINE = 0.15, 0.85, 0.35, 0.17  # inches: between pictures, for the bar, for headings, a line of text
FAINTEST, STRONGEST = 0.25, 0.85  # how much of the overlay is the map: where it is 0, and where it is strongest


def heat(image: Any, map_: Any, title: str = "", notes: tuple[str, ...] = (), signed: bool | None = None) -> Figure:
    """Draw an image (1 or 3, H, W) of values 0..1, a map (H, W) of any numbers, and the map laid over the image.

    signed: whether 0 lies in the middle of the colours; by default where the map holds numbers below 0. notes: lines
    to write below, the checks of the explanation for instance. Raises PellucidError for shapes that are no such things
    and for numbers that are not finite.
    """
    picture, numbers = _picture(image), np.asarray(map_, dtype=np.float64)
    if numbers.ndim != 2 or not numbers.size or not np.isfinite(numbers).all():
        raise PellucidError(f"a map to draw holds finite numbers (H, W), not {numbers.shape} with NaN or infinity")
    signed = bool((numbers < 0).any()) if signed is None else signed
    norm, colours = scale(numbers, signed)
    height = SIDE * numbers.shape[0] / numbers.shape[1]
    below = LINE * len(notes) + (0.1 if notes else 0.0)
    size = (3 * SIDE + 4 * GAP + BAR, TOP + height + GAP + below)
    figure = Figure(size)
    plots = [picture_axes(figure, GAP + k * (SIDE + GAP) + BAR * (k == 2), GAP + below, SIDE, height) for k in range(3)]
    show(plots[0], picture)
    shown = plots[1].imshow(numbers, norm=norm, cmap=colours, interpolation="none")
    show(plots[2], overlay(picture, numbers, norm, colours))
    for plot, words in zip(plots, ("image", title or "map", "both"), strict=True):
        plot.set_title(words, fontsize=TEXT, color=INK, pad=4)
    bar(figure, shown, (2 * (SIDE + GAP) + 0.06, GAP + below, 0.1, height))
    for k, line in enumerate(reversed(notes)):
        figure.text(GAP / size[0], (0.1 + LINE * k) / size[1], line, fontsize=SMALL, color=INK, va="bottom")
    return figure


def overlay(picture: Any, numbers: Any, norm: Normalize, colours: Any) -> Any:
    """Return the map over the grey image (H, W, 3), the stronger the less of the image is left.

    A map of another size than the image is stretched by repeating its numbers.
    """
    height, width = picture.shape[:2]
    rows, columns = (np.arange(n) * m // n for n, m in zip((height, width), numbers.shape, strict=True))
    spread = numbers[rows][:, columns]
    grey = picture.mean(-1, keepdims=True) if picture.ndim == 3 else picture[..., None]
    strength = np.abs(spread) / (np.abs(numbers).max() or 1.0)
    part = (FAINTEST + (STRONGEST - FAINTEST) * strength)[..., None]
    return (1 - part) * grey + part * colours(norm(spread))[..., :3]


def show(plot: Axes, picture: Any) -> None:
    """Draw a grey (H, W) or colour (H, W, 3) picture of values 0..1, each pixel as it is."""
    plot.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="none")


def bar(figure: Figure, shown: ScalarMappable, place: tuple[float, float, float, float]) -> None:
    """Draw the colour bar of what is shown at (left, bottom, width, height) inches, with the numbers at its ends."""
    wide, high = figure.get_size_inches()
    left, bottom, width, height = place
    tall = min(height, 2.2)
    at = figure.add_axes((left / wide, (bottom + (height - tall) / 2) / high, width / wide, tall / high))
    low, top = shown.get_clim()
    middle = 0.0 if low < 0 < top else (low + top) / 2
    figure.colorbar(shown, cax=at, ticks=[low, middle, top], format=lambda value, _: f"{value:.3g}")
    at.tick_params(labelsize=SMALL - 1, colors=INK, length=2, pad=2)
    at.spines["outline"].set_linewidth(0.4)


def _picture(image: Any) -> Any:
    """Return an image (1 or 3, H, W) as matplotlib wants it, cut to 0..1."""
    values = np.asarray(image, dtype=np.float64)
    if values.ndim != 3 or values.shape[0] not in (1, 3):
        raise PellucidError(f"an image to draw has the shape (1 or 3, H, W), not {values.shape}")
    clipped = np.clip(values, 0, 1)
    return clipped[0] if len(clipped) == 1 else np.moveaxis(clipped, 0, -1)
