"""The page about a network: its HTML, its figures, and the values that they show."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from pellucid.explain.ablation import AblationRow
from pellucid.explain.look import LayerLook, Look, OccludedImage
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
from pellucid.report.sections import FigurePart, FigureRow, Missing, Page, Section, SectionPart, TablePart
from pellucid.report.write import packed
from pellucid.text import percent

PAPER = "Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks"
PATCHES, MAPS = 3, 4  # in a row
MAX_EPOCHS = 10
SIDE, GAP, NAME = 0.86, 0.12, 0.2  # inches of a square of patches; between maps; for a map's name
CELL, CELL_GAP, CELL_NAME, LEFT = 0.62, 0.05, 0.22, 0.55  # inches, for maps over epochs
WHITE_QUANTILE = 0.99  # quantile of the magnitudes that is drawn as white
MID_GREY = 0.5  # grey level outside of the image, and of the value 0 in a reconstruction


def write_page(folder: Path, look: Look) -> Path:
    """Write index.html, which needs no other file, and in figures/ each figure as PNG and its values as .npz."""
    make_folder(folder / "figures")
    for name, numbers in numbers_of(look).items():
        write_atomically(folder / "figures" / f"{name}.npz", packed(numbers), durable=False)
    return page(look).write(folder / "index.html")


def page(look: Look) -> Page:
    """Return the page about a network."""
    results = [
        (f"accuracy on {len(look.images):,} images of {look.data}", percent(look.accuracy)),
        ("convolutions", str(len(look.layers))),
        ("feature maps", str(sum(layer.maps for layer in look.layers))),
        ("never active", str(sum(layer.silent for layer in look.layers))),
    ]
    names = [f"{name}: {best.scores[-1]:.3g}" for name, best in look.best]
    pictures = [best.x[0].mean(0).numpy() for _, best in look.best]
    best = sheet(pictures, "the input that maximizes each class, and its score", names, columns=5)
    occlusion = [_occlusion(look, k, hidden) for k, hidden in enumerate(look.hidden)]
    sections = [
        *(_layer(look, k, layer) for k, layer in enumerate(look.layers)),
        Section("occlusion", "Occlusion", occlusion, wide=True),
        Section("ablation", "Ablation", [_ablation(look)], wide=True),
        Section("best", BEST, [FigurePart("best", best, BEST, ASCENT)], wide=True),
        Section("evolution", "Evolution over epochs", _evolution(look), wide=True),
    ]
    about = f"After {PAPER}: what the maps of each layer respond to, and how the network depends on them."
    return Page(f"What {look.name} looks for", sections, about, results)


BEST = "Input that maximizes each class"
ASCENT = (
    "Gradient ascent from grey noise, with jitter, blur and decay: images with a higher score than any real image. "
    "They show what the network responds to, not what a class looks like."
)
ABLATION = (
    "The accuracy when a layer's outputs are replaced by 0, or by each map's mean over all images and positions. The "
    "network is not retrained; in the paper's table 3 it is, so the accuracy decreases less there (use --retrain)."
)


def _layer(look: Look, k: int, layer: LayerLook) -> Section:
    parts: list[SectionPart] = []
    if not layer.top:
        parts.append(Missing("None of its maps is positive for any image."))
    if layer.silent:
        verb = "is" if layer.silent == 1 else "are"
        parts.append(Missing(f"{layer.silent} of its {layer.maps} maps {verb} not positive for any image."))
    weights, outputs = filters(layer.weight, f"{layer.path}.weight"), sheet(layer.outputs, layer.output)
    columns: list[SectionPart | Sequence[SectionPart]] = [[
        FigurePart(f"filters-{layer.key}", weights, f"Filters of {layer.path}", "The filters, one row for each."),
        FigurePart(
            f"maps-{layer.key}", outputs, f"Maps of {layer.output}", "The maps of the first image below."
        ),
    ]]  # fmt: skip
    if layer.top:
        some = f"the {len(layer.top)} of {layer.maps} maps with the largest activations"
        caption = (
            f"{layer.output}: {'all maps' if len(layer.top) == layer.maps else some}. Left: the nine largest "
            f"activations of each map over {len(look.images):,} images, one from each image, projected back to the "
            "pixels by a DeconvNet (0 is mid-grey, each on its own scale, the largest 1 % of magnitudes clipped). "
            f"Right: the patches that caused them, which are the receptive fields of {layer.field[0]} x "
            f"{layer.field[1]} pixels; parts outside of the image are grey. Above: index of the map and its largest "
            "activation."
        )
        patches = patch_sheet(layer.top, look.images)
        columns.insert(0, FigurePart(f"patches-{layer.key}", patches, f"Top patches of {layer.output}", caption))
    return Section(f"layer-{k}", layer.path, [*parts, FigureRow(columns)], wide=True)


def _occlusion(look: Look, k: int, hidden: OccludedImage) -> FigureRow:
    assert hidden.classes.predicted is not None
    side, alt = int(hidden.classes.corners[0, 0, 2]), f"Occlusion of image {k + 1}:"
    effect, back = hidden.total.effect(*hidden.image.shape[1:])[0, 0], hidden.deconvolution.sum(0)
    figures = (
        (
            "map", heat(hidden.image, effect, f"decrease of {hidden.map}", signed=True),
            f"Decrease of the total activation of {hidden.map}, the map of its layer with the largest sum for this "
            f"image, when a grey square of {side} x {side} pixels hides a pixel (the mean over such squares).",
        ),
        (
            "deconvolution", heat(hidden.image, back, f"{hidden.map}, projected down", signed=True),
            "The same map's largest activation, projected back to the pixels. Its large values should be at the same "
            "positions as in the previous image.",
        ),
        (
            "class", places(hidden.classes.score[0], hidden.classes.predicted[0], look.classes, f"p({hidden.label})"),
            f"The probability of {hidden.label}, and the class that the model predicts, "
            "for each position of the square.",
        ),
    )  # fmt: skip
    return FigureRow(
        [FigurePart(f"hidden-{k}-{name}", *(figure, f"{alt} {name}", caption)) for name, figure, caption in figures]
    )


def _ablation(look: Look) -> FigureRow:
    rows = [
        (_removals(zero), f"{zero.parameters:,}", percent(zero.accuracy), percent(mean.accuracy))
        for zero, mean in zip(look.ablations, look.by_mean, strict=True)
    ]
    head = ("removed", "parameters", "accuracy with 0", "accuracy with the mean")
    columns = [[ABLATION, TablePart("Accuracy without layers", head, rows)]]
    if look.retrained is not None:
        head = ("changed", "parameters", "train accuracy", "accuracy")
        rows = [_retrained_row(row) for row in look.retrained.rows]
        columns.append([
            f"Networks trained from scratch with the same settings: {look.retrained.epochs} epochs of "
            f"{look.retrained.images} images with Adam. Compare them with each other, not with the model above, which "
            "was trained for longer.",
            TablePart("Accuracy of networks trained from scratch", head, rows),
        ])  # fmt: skip
    return FigureRow(columns)


def _removals(row: AblationRow) -> str:
    """Return what a row removes, in words that fit a column of a phone."""
    return row.name if len(row.removed) <= 3 else f"{row.removed[0]} and {len(row.removed) - 1} more"


def _evolution(evolution: Look) -> list[SectionPart]:
    if not evolution.grown:
        return [Missing(
            "This needs the weights of several epochs: train with train.keep=[0,1,2,5,10] and give the run folder, or "
            "let --retrain train the network from scratch."
        )]  # fmt: skip
    retraining = "of a training of the same network from scratch, for this page"
    parts: list[SectionPart] = [
        f"The weights are those {retraining if evolution.shows_retraining else 'of its training'}."
    ]
    for grown in evolution.grown:
        caption = (
            f"{grown.path}: a row for each of the {len(grown.maps)} maps with the largest mean at the end, a column "
            f"for each epoch; the largest activation over {len(evolution.images):,} images, projected back to the "
            "pixels, each on its own scale, 0 as mid-grey. A sudden change means that another image has the largest "
            "activation."
        )
        over = (
            f"{grown.path}: each map's mean activation over all images and positions, and the largest mean of all maps."
        )
        parts.append(FigureRow([
            FigurePart(f"growth-{grown.key}", growth(grown), f"Evolution of {grown.path}", caption),
            FigurePart(f"means-{grown.key}", means(grown), f"Mean activations of {grown.path}", over),
        ]))  # fmt: skip
    return parts


def _retrained_row(row: Retrained) -> tuple[str, ...]:
    removed = "without " if row.variant.factor == 0 else ""
    name = "the whole network" if not row.variant.paths else f"{removed}{row.variant.name}"
    if row.accuracy is None or row.train_accuracy is None:
        return f"{name}: cannot be built ({row.why:.80})", "", "", ""
    return name, f"{row.parameters:,}", percent(row.train_accuracy), percent(row.accuracy)


def numbers_of(look: Look) -> dict[str, dict[str, Any]]:
    """Return the values that the figures show, by the name of the file."""
    numbers: dict[str, dict[str, Any]] = {}
    for layer in look.layers:
        numbers[f"filters-{layer.key}"] = {"weight": layer.weight}
        numbers[f"maps-{layer.key}"] = {"outputs": layer.outputs}
        for top in layer.top:
            numbers[f"patches-{layer.key}-{top.map}"] = {
                "images": top.images, "value": top.value, "corners": top.corners, "deconvolution": top.deconvolution,
            }  # fmt: skip
    for grown in look.grown:
        strongest = torch.stack([torch.cat([top.deconvolution for top in row]) for row in grown.strongest])
        numbers[f"growth-{grown.key}"] = {
            "epochs": list(grown.epochs), "means": grown.means, "maps": list(grown.maps), "deconvolution": strongest,
        }  # fmt: skip
    for k, hidden in enumerate(look.hidden):
        assert hidden.classes.predicted is not None
        numbers[f"hidden-{k}"] = {
            "image": hidden.image, "probability": hidden.classes.score[0], "predicted": hidden.classes.predicted[0],
            "corners": hidden.classes.corners, "total_activation": hidden.total.score[0],
            "deconvolution": hidden.deconvolution,
        }  # fmt: skip
    numbers["best"] = {name: best.x for name, best in look.best}
    return numbers


def growth(evolution: Evolution) -> Figure:
    """Draw a row for each map and a column for each epoch: the strongest activation, projected back to the pixels.

    Each image shows the unit's receptive field on its own scale, with 0 as mid-grey; at most MAX_EPOCHS epochs, evenly
    chosen.
    Source: Zeiler and Fergus 2014, figure 4.
    """
    columns = np.unique(np.linspace(0, len(evolution.epochs) - 1, MAX_EPOCHS).round().astype(int)).tolist()
    size = (
        LEFT + len(columns) * (CELL + CELL_GAP) + CELL_GAP,
        CELL_NAME + len(evolution.maps) * (CELL + CELL_GAP) + CELL_GAP,
    )
    figure = Figure(size)
    for row, (number, tops) in enumerate(zip(evolution.maps, evolution.strongest, strict=True)):
        bottom = size[1] - CELL_NAME - (row + 1) * (CELL + CELL_GAP)
        for column, k in enumerate(columns):
            plot = picture_axes(figure, LEFT + column * (CELL + CELL_GAP), bottom, CELL, CELL)
            top, left, low, right = tops[k].corners[0].tolist()
            part = tops[k].deconvolution[0].double().numpy()[:, top:low, left:right]
            show(plot, pixels(MID_GREY + MID_GREY * part / scale_of(part)))
            if row == 0:
                name = f"epoch {evolution.epochs[k]}" if column == 0 else str(evolution.epochs[k])
                plot.set_title(name, fontsize=SMALL - 1, color=INK, pad=3)
        middle = (bottom + CELL / 2) / size[1]
        figure.text(0.45 * LEFT / size[0], middle, str(number), fontsize=SMALL, color=INK, va="center", ha="center")
    return figure


def means(evolution: Evolution) -> Figure:
    """Draw the mean activation of the same maps over the epochs, and the largest mean of all maps of the layer."""
    figure, plot = curve_axes("epoch", "mean activation")
    ends: list[End] = []
    for number, colour in zip(evolution.maps, depth_colours(len(evolution.maps)), strict=True):
        values = evolution.means[:, number].tolist()
        (line,) = plot.plot(evolution.epochs, values, color=colour, linewidth=1.3)
        figure.lines_by_name.append((f"map {number}", line))
        ends.append(End(evolution.epochs[-1], values[-1], f"map {number}", colour))
    largest = evolution.means.amax(1).tolist()
    plot.plot(evolution.epochs, largest, color=PALE, linewidth=1.2, linestyle=(0, (4, 2)), label="largest of all maps")
    plot.legend(frameon=False, fontsize=SMALL, labelcolor=INK, loc="best")
    plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    label_ends(plot, ends)
    return figure


def patch_sheet(patches: Sequence[TopPatches], images: Tensor) -> Figure:
    """Draw each map's reconstructions on the left and patches on the right, the largest activation first.

    images: (N, 1 or 3, H, W) of values 0..1, all images of the data set. Each reconstruction has its own scale, with 0
    as mid-grey, as in the paper; the largest 1 % of magnitudes are clipped. Source: Zeiler and Fergus 2014, figure 2.
    """
    rows, across = math.ceil(len(patches) / MAPS), min(MAPS, len(patches))
    size = (across * (2 * SIDE + 0.04 + GAP) + GAP, rows * (SIDE + NAME + GAP) + GAP)
    figure = Figure(size)
    for k, patch in enumerate(patches):
        row, column = divmod(k, MAPS)
        left = GAP + column * (2 * SIDE + 0.04 + GAP)
        bottom = size[1] - (row + 1) * (SIDE + NAME + GAP)
        for shift, tile in enumerate(tiles(patch, images)):
            plot = picture_axes(figure, left + shift * (SIDE + 0.04), bottom, SIDE, SIDE)
            show(plot, tile)
            if shift == 0:
                words = f"{patch.map}: {float(patch.value[0]):.3g}"
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
