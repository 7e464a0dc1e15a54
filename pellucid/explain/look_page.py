"""The page about a network: its HTML, its figures, and the values that they show."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from pellucid.explain.look import Look
from pellucid.explain.retrained import Retrained
from pellucid.explain.top_patches import Evolution, TopPatches
from pellucid.files import make_folder, write_atomically
from pellucid.report.figures.heat import heat, places
from pellucid.report.figures.pictures import filters, sheet
from pellucid.report.figures.style import (
    INK,
    PALE,
    SMALL,
    End,
    curve_axes,
    depth_colours,
    label_ends,
    picture_axes,
    pixels,
    show,
)
from pellucid.report.page import render
from pellucid.report.write import packed
from pellucid.report.write import write_page as write_html_and_figures

PAPER = "Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks"
PATCHES, MAPS = 3, 4  # in a row
MAX_EPOCHS = 10
SIDE, GAP, NAME = 0.86, 0.12, 0.2  # inches of a square of patches; between maps; for a map's name
CELL, CELL_GAP, CELL_NAME, LEFT = 0.62, 0.05, 0.22, 0.55  # inches, for maps over epochs
WHITE_QUANTILE = 0.99  # quantile of the magnitudes that is drawn as white
MID_GREY = 0.5  # grey level outside of the image, and of the value 0 in a reconstruction


def write_page(folder: Path, found: Look) -> Path:
    """Write index.html, which needs no other file, and in figures/ each figure as PNG and its values as .npz."""
    make_folder(folder / "figures")
    for name, numbers in numbers_of(found).items():
        write_atomically(folder / "figures" / f"{name}.npz", packed(numbers), durable=False)
    figures = draw(found)
    return write_html_and_figures(folder / "index.html", page(found, figures), figures)


def page(found: Look, figures: Mapping[str, Figure]) -> str:
    """Return the whole HTML document."""
    results = [
        (f"accuracy on {len(found.images):,} images of {found.data}", _percent(found.accuracy)),
        ("convolutions", str(len(found.layers))),
        ("feature maps", str(sum(layer.maps for layer in found.layers))),
        ("never active", str(sum(layer.silent for layer in found.layers))),
    ]
    ablations = [
        (zero.name, f"{zero.parameters:,}", _percent(zero.accuracy), _percent(mean.accuracy))
        for zero, mean in zip(found.ablations, found.by_mean, strict=True)
    ]
    retrained = [_retrained_row(row) for row in found.retrained.rows] if found.retrained is not None else []
    return render(
        "look", found=found, figures=figures, paper=PAPER, results=results, ablations=ablations, retrained=retrained
    )


def _retrained_row(row: Retrained) -> tuple[str, ...]:
    removed = "without " if row.variant.factor == 0 else ""
    name = "the whole network" if not row.variant.paths else f"{removed}{row.variant.name}"
    if row.accuracy is None or row.train_accuracy is None:
        return f"{name}: cannot be built ({row.why:.80})", "", "", ""
    return name, f"{row.parameters:,}", _percent(row.train_accuracy), _percent(row.accuracy)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"


def draw(found: Look) -> dict[str, Figure]:
    """Return the page's figures by name."""
    figures: dict[str, Figure] = {}
    for layer in found.layers:
        figures[f"filters-{layer.key}"] = filters(layer.weight, f"{layer.path}.weight")
        figures[f"maps-{layer.key}"] = sheet(layer.outputs, layer.output)
        if layer.top:
            figures[f"patches-{layer.key}"] = patch_sheet(layer.top, found.images)
    for one in found.grown:
        figures[f"growth-{one.key}"], figures[f"means-{one.key}"] = growth(one), means(one)
    for k, one in enumerate(found.hidden):
        assert one.classes.predicted is not None
        predicted, back = one.classes.predicted[0], one.deconvolution.sum(0)
        effect = one.total.effect(*one.image.shape[1:])[0, 0]
        figures[f"hidden-{k}-class"] = places(one.classes.score[0], predicted, found.classes, f"p({one.label})")
        figures[f"hidden-{k}-map"] = heat(one.image, effect, f"decrease of {one.map}", signed=True)
        figures[f"hidden-{k}-deconvolution"] = heat(one.image, back, f"{one.map}, projected down", signed=True)
    names = [f"{name}: {best.scores[-1]:.3g}" for name, best in found.best]
    pictures = [best.x[0].mean(0).numpy() for _, best in found.best]
    figures["best"] = sheet(pictures, "the input that maximizes each class, and its score", names, columns=5)
    return figures


def numbers_of(found: Look) -> dict[str, dict[str, Any]]:
    """Return the values that the figures show, by the name of the file."""
    numbers: dict[str, dict[str, Any]] = {}
    for layer in found.layers:
        numbers[f"filters-{layer.key}"] = {"weight": layer.weight}
        numbers[f"maps-{layer.key}"] = {"outputs": layer.outputs}
        for one in layer.top:
            numbers[f"patches-{layer.key}-{one.map}"] = {
                "images": one.images, "value": one.value, "corners": one.corners, "deconvolution": one.deconvolution,
            }  # fmt: skip
    for one in found.grown:
        strongest = torch.stack([torch.cat([top.deconvolution for top in row]) for row in one.strongest])
        numbers[f"growth-{one.key}"] = {
            "epochs": list(one.epochs), "means": one.means, "maps": list(one.maps), "deconvolution": strongest,
        }  # fmt: skip
    for k, one in enumerate(found.hidden):
        assert one.classes.predicted is not None
        numbers[f"hidden-{k}"] = {
            "image": one.image, "probability": one.classes.score[0], "predicted": one.classes.predicted[0],
            "corners": one.classes.corners, "total_activation": one.total.score[0], "deconvolution": one.deconvolution,
        }  # fmt: skip
    numbers["best"] = {name: best.x for name, best in found.best}
    return numbers


def growth(found: Evolution) -> Figure:
    """Draw a row for each map and a column for each epoch: the strongest activation, projected back to the pixels.

    Each image shows the unit's receptive field on its own scale, with 0 as mid-grey; at most MAX_EPOCHS epochs, evenly
    chosen.
    Source: Zeiler and Fergus 2014, figure 4.
    """
    columns = np.unique(np.linspace(0, len(found.epochs) - 1, MAX_EPOCHS).round().astype(int)).tolist()
    size = (
        LEFT + len(columns) * (CELL + CELL_GAP) + CELL_GAP,
        CELL_NAME + len(found.maps) * (CELL + CELL_GAP) + CELL_GAP,
    )
    figure = Figure(size)
    for row, (number, tops) in enumerate(zip(found.maps, found.strongest, strict=True)):
        bottom = size[1] - CELL_NAME - (row + 1) * (CELL + CELL_GAP)
        for column, k in enumerate(columns):
            plot = picture_axes(figure, LEFT + column * (CELL + CELL_GAP), bottom, CELL, CELL)
            top, left, low, right = tops[k].corners[0].tolist()
            part = tops[k].deconvolution[0].double().numpy()[:, top:low, left:right]
            show(plot, pixels(MID_GREY + MID_GREY * part / scale_of(part)))
            if row == 0:
                name = f"epoch {found.epochs[k]}" if column == 0 else str(found.epochs[k])
                plot.set_title(name, fontsize=SMALL - 1, color=INK, pad=3)
        middle = (bottom + CELL / 2) / size[1]
        figure.text(0.45 * LEFT / size[0], middle, str(number), fontsize=SMALL, color=INK, va="center", ha="center")
    return figure


def means(found: Evolution) -> Figure:
    """Draw the mean activation of the same maps over the epochs, and the largest mean of all maps of the layer."""
    figure, plot = curve_axes("epoch", "mean activation")
    ends: list[End] = []
    for number, colour in zip(found.maps, depth_colours(len(found.maps)), strict=True):
        values = found.means[:, number].tolist()
        (line,) = plot.plot(found.epochs, values, color=colour, linewidth=1.3)
        figure.lines_by_name.append((f"map {number}", line))
        ends.append(End(found.epochs[-1], values[-1], f"map {number}", colour))
    largest = found.means.amax(1).tolist()
    plot.plot(found.epochs, largest, color=PALE, linewidth=1.2, linestyle=(0, (4, 2)), label="largest of all maps")
    plot.legend(frameon=False, fontsize=SMALL, labelcolor=INK, loc="best")
    plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    label_ends(plot, ends)
    return figure


def patch_sheet(found: Sequence[TopPatches], images: Tensor) -> Figure:
    """Draw each map's reconstructions on the left and patches on the right, the largest activation first.

    images: (N, 1 or 3, H, W) of values 0..1, all images of the data set. Each reconstruction has its own scale, with 0
    as mid-grey, as in the paper; the largest 1 % of magnitudes are clipped. Source: Zeiler and Fergus 2014, figure 2.
    """
    rows, across = math.ceil(len(found) / MAPS), min(MAPS, len(found))
    size = (across * (2 * SIDE + 0.04 + GAP) + GAP, rows * (SIDE + NAME + GAP) + GAP)
    figure = Figure(size)
    for k, one in enumerate(found):
        row, column = divmod(k, MAPS)
        left = GAP + column * (2 * SIDE + 0.04 + GAP)
        bottom = size[1] - (row + 1) * (SIDE + NAME + GAP)
        for shift, tile in enumerate(tiles(one, images)):
            plot = picture_axes(figure, left + shift * (SIDE + 0.04), bottom, SIDE, SIDE)
            show(plot, tile)
            if shift == 0:
                words = f"{one.map}: {float(one.value[0]):.3g}"
                plot.set_title(words, fontsize=SMALL - 1, color=INK, pad=2, loc="left")
    return figure


def tiles(patches: TopPatches, images: Tensor) -> tuple[Any, Any]:
    """Return the squares of reconstructions and of patches, (S, S) or (S, S, 3), values 0..1."""
    corners = patches.corners.tolist()
    height = max(bottom - top for top, _, bottom, _ in corners)
    width = max(right - left for _, left, _, right in corners)
    shape = (PATCHES * (height + 1) - 1, PATCHES * (width + 1) - 1)
    squares = [np.full((images.shape[1], *shape), 1.0) for _ in range(2)]
    for k, (top, left, bottom, right) in enumerate(corners):
        down, along = (k // PATCHES) * (height + 1), (k % PATCHES) * (width + 1)
        reconstruction = patches.deconvolution[k].double().numpy()
        reach = scale_of(reconstruction[:, top:bottom, left:right])
        picture = images[patches.images[k]].double().numpy()
        for square, source in zip(squares, (MID_GREY + MID_GREY * reconstruction / reach, picture), strict=True):
            square[:, down : down + height, along : along + width] = MID_GREY
            # The part outside of the image remains grey, on the side where the patch is clipped.
            y = down + (height - (bottom - top) if top == 0 else 0)
            x = along + (width - (right - left) if left == 0 else 0)
            square[:, y : y + bottom - top, x : x + right - left] = source[:, top:bottom, left:right]
    return pixels(squares[0]), pixels(squares[1])


def scale_of(reconstruction: Any) -> float:
    """Return the magnitude that is drawn as white: the 99 % quantile, since a maximum can make the rest grey."""
    magnitudes = np.abs(reconstruction)
    return float(np.quantile(magnitudes, WHITE_QUANTILE) or magnitudes.max() or 1.0)
