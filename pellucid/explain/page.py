"""The page about a network: its HTML, its figures, and the values of the figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from pellucid.base.files import make_folder, write_atomically
from pellucid.base.text import percent
from pellucid.report.figures.heat import heat, occlusion_maps
from pellucid.report.figures.pictures import filters, sheet
from pellucid.report.figures.style import (
    INK,
    PALE,
    SMALL,
    CurveEnd,
    curve_axes,
    depth_colours,
    label_ends,
    picture_axes,
    pixels,
    show_image,
)
from pellucid.report.sections import FigurePart, FigureRow, Missing, Page, Section, TablePart
from pellucid.report.write import npz_bytes

if TYPE_CHECKING:
    from pellucid.explain.ablation import AblationRow
    from pellucid.explain.page_contents import LayerContents, OccludedImage, PageContents
    from pellucid.explain.retrained import RetrainingRow
    from pellucid.explain.top_patches import Evolution, TopPatches
    from pellucid.report.sections import SectionPart

PAPER = "Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks"
PATCHES_PER_ROW, MAPS_PER_ROW = 3, 4  # patches in a row of a map's square, maps in a row of the figure
MAX_EPOCHS = 10
PATCH_SIDE = 0.86  # inches, of a square of patches
PATCH_GAP = 0.04  # inches between the two squares of a map
MAP_GAP = 0.12  # inches between maps
NAME_HEIGHT = 0.2  # inches, of a map's name
# inches, in the figure of epochs
CELL_SIDE = 0.62
CELL_GAP = 0.05
EPOCH_NAME_HEIGHT = 0.22
LEFT_MARGIN = 0.55
WHITE_QUANTILE = 0.99  # quantile of the magnitudes that is drawn as white
MID_GREY = 0.5  # grey level outside of the image, and of the value 0 in a reconstruction


def write_page(folder: Path, contents: PageContents) -> Path:
    """Write index.html, which needs no other file, and each figure as PNG and .npz in figures/; return the page."""
    make_folder(folder / "figures")
    for name, values in figure_values(contents).items():
        write_atomically(folder / "figures" / f"{name}.npz", npz_bytes(values), durable=False)
    return contents_page(contents).write(folder / "index.html")


def contents_page(contents: PageContents) -> Page:
    """Return the page about a network."""
    results = [
        (f"accuracy on {len(contents.images):,} images of {contents.data}", percent(contents.accuracy)),
        ("convolutions", str(len(contents.layers))),
        ("feature maps", str(sum(layer.maps for layer in contents.layers))),
        ("never active", str(sum(layer.n_silent for layer in contents.layers))),
    ]
    captions = [f"{name}: {maximum.scores[-1]:.3g}" for name, maximum in contents.class_maxima]
    pictures = [maximum.x[0].mean(0).numpy() for _, maximum in contents.class_maxima]
    maxima = sheet(pictures, "the input that maximizes each class, and its score", captions, columns=5)
    occlusion_rows = [_occlusion_row(contents, k, occluded) for k, occluded in enumerate(contents.occluded_images)]
    sections = [
        *(_layer_section(contents, k, layer) for k, layer in enumerate(contents.layers)),
        Section("occlusion", "Occlusion", occlusion_rows, wide=True),
        Section("ablation", "Ablation", [_ablation_row(contents)], wide=True),
        Section("best", MAXIMA_TITLE, [FigurePart("best", maxima, MAXIMA_TITLE, ASCENT_TEXT)], wide=True),
        Section("evolution", "Evolution over epochs", _evolution_parts(contents), wide=True),
    ]
    introduction = f"After {PAPER}: what the maps of each layer respond to, and how the network depends on them."
    return Page(f"What {contents.name} looks for", sections, introduction, results)


MAXIMA_TITLE = "Input that maximizes each class"
ASCENT_TEXT = (
    "Gradient ascent from grey noise, with jitter, blur and decay: images with a higher score than any real image. "
    "They show what the network responds to, not what a class looks like."
)
ABLATION_TEXT = (
    "The accuracy when a layer's outputs are replaced by 0, or by each map's mean over all images and positions. The "
    "network is not retrained; in the paper's table 3 it is, so the accuracy decreases less there (use --retrain)."
)


def _layer_section(contents: PageContents, k: int, layer: LayerContents) -> Section:
    parts: list[SectionPart] = []
    if not layer.top:
        parts.append(Missing("None of its maps is positive for any image."))
    if layer.n_silent:
        verb = "is" if layer.n_silent == 1 else "are"
        parts.append(Missing(f"{layer.n_silent} of its {layer.maps} maps {verb} not positive for any image."))
    weights = filters(layer.weight, f"{layer.path}.weight")
    outputs = sheet(layer.outputs, layer.output)
    columns: list[SectionPart | Sequence[SectionPart]] = [
        [
            FigurePart(f"filters-{layer.key}", weights, f"Filters of {layer.path}", "The filters, one row for each."),
            FigurePart(f"maps-{layer.key}", outputs, f"Maps of {layer.output}", "The maps of the first image below."),
        ]
    ]
    if layer.top:
        map_count_text = f"the {len(layer.top)} of {layer.maps} maps with the largest activations"
        caption = (
            f"{layer.output}: {'all maps' if len(layer.top) == layer.maps else map_count_text}. Left: the nine largest "
            f"activations of each map over {len(contents.images):,} images, one from each image, projected back to the "
            "pixels by a DeconvNet (0 is mid-grey, each on its own scale, the largest 1 % of magnitudes clipped). "
            f"Right: the patches that caused them, which are the receptive fields of {layer.field_size[0]} x "
            f"{layer.field_size[1]} pixels; parts outside of the image are grey. Above: index of the map and its "
            "largest activation."
        )
        patches = patch_sheet(layer.top, contents.images)
        columns.insert(0, FigurePart(f"patches-{layer.key}", patches, f"Top patches of {layer.output}", caption))
    return Section(f"layer-{k}", layer.path, [*parts, FigureRow(columns)], wide=True)


def _occlusion_row(contents: PageContents, k: int, occluded: OccludedImage) -> FigureRow:
    by_class = occluded.class_occlusion
    assert by_class.predicted is not None
    side = int(by_class.corners[0, 0, 2])
    alt = f"Occlusion of image {k + 1}:"
    effect = occluded.map_occlusion.effect(*occluded.image.shape[1:])[0, 0]
    reconstruction = occluded.deconvolution.sum(0)
    figures = (
        (
            "map",
            heat(occluded.image, effect, f"decrease of {occluded.map}", signed=True),
            f"Decrease of the total activation of {occluded.map}, the map of its layer with the largest sum for this "
            f"image, when a grey square of {side} x {side} pixels hides a pixel (the mean over such squares).",
        ),
        (
            "deconvolution",
            heat(occluded.image, reconstruction, f"{occluded.map}, projected down", signed=True),
            "The same map's largest activation, projected back to the pixels. Its large values should be at the same "
            "positions as in the previous image.",
        ),
        (
            "class",
            occlusion_maps(by_class.score[0], by_class.predicted[0], contents.classes, f"p({occluded.label})"),
            f"The probability of {occluded.label}, and the class that the model predicts, "
            "for each position of the square.",
        ),
    )
    return FigureRow(
        [FigurePart(f"hidden-{k}-{name}", figure, f"{alt} {name}", caption) for name, figure, caption in figures]
    )


def _ablation_row(contents: PageContents) -> FigureRow:
    rows = [
        (_removals_text(zero), f"{zero.parameters:,}", percent(zero.accuracy), percent(mean.accuracy))
        for zero, mean in zip(contents.ablations, contents.mean_ablations, strict=True)
    ]
    head = ("removed", "parameters", "accuracy with 0", "accuracy with the mean")
    columns = [[ABLATION_TEXT, TablePart("Accuracy without layers", head, rows)]]
    if contents.retrained is not None:
        head = ("changed", "parameters", "train accuracy", "accuracy")
        rows = [_retrained_row(row) for row in contents.retrained.rows]
        text = (
            f"Networks trained from scratch with the same settings: {contents.retrained.epochs} epochs of "
            f"{contents.retrained.images} images with Adam. Compare them with each other, not with the model above, "
            "which was trained for longer."
        )
        columns.append([text, TablePart("Accuracy of networks trained from scratch", head, rows)])
    return FigureRow(columns)


def _removals_text(row: AblationRow) -> str:
    """Return the removals of a row as text, shortened for narrow screens."""
    return row.name if len(row.removals) <= 3 else f"{row.removals[0]} and {len(row.removals) - 1} more"


def _evolution_parts(contents: PageContents) -> list[SectionPart]:
    if not contents.evolutions:
        text = (
            "This needs the weights of several epochs: train with train.keep=[0,1,2,5,10] and give the run folder, or "
            "let --retrain train the network from scratch."
        )
        return [Missing(text)]
    retraining_words = "of a training of the same network from scratch, for this page"
    parts: list[SectionPart] = [
        f"The weights are those {retraining_words if contents.shows_retraining else 'of its training'}."
    ]
    for evolution in contents.evolutions:
        key, path = evolution.key, evolution.path
        caption = (
            f"{path}: a row for each of the {len(evolution.maps)} maps with the largest mean at the end, a "
            f"column for each epoch; the largest activation over {len(contents.images):,} images, projected back to "
            "the pixels, each on its own scale, 0 as mid-grey. A sudden change means that another image has the "
            "largest activation."
        )
        means_caption = (
            f"{path}: each map's mean activation over all images and positions, and the largest mean of all maps."
        )
        parts.append(FigureRow([
            FigurePart(f"growth-{key}", evolution_figure(evolution), f"Evolution of {path}", caption),
            FigurePart(f"means-{key}", means_figure(evolution), f"Mean activations of {path}", means_caption),
        ]))  # fmt: skip
    return parts


def _retrained_row(row: RetrainingRow) -> tuple[str, ...]:
    removed = "without " if row.variant.factor == 0 else ""
    name = "the whole network" if not row.variant.paths else f"{removed}{row.variant.name}"
    if row.accuracy is None or row.train_accuracy is None:
        return f"{name}: cannot be built ({row.error:.80})", "", "", ""
    return name, f"{row.parameters:,}", percent(row.train_accuracy), percent(row.accuracy)


def figure_values(contents: PageContents) -> dict[str, dict[str, Any]]:
    """Return the values that the figures show, by the name of the file."""
    values: dict[str, dict[str, Any]] = {}
    for layer in contents.layers:
        values[f"filters-{layer.key}"] = {"weight": layer.weight}
        values[f"maps-{layer.key}"] = {"outputs": layer.outputs}
        for top in layer.top:
            values[f"patches-{layer.key}-{top.map}"] = {
                "images": top.images,
                "value": top.value,
                "corners": top.corners,
                "deconvolution": top.deconvolution,
            }
    for evolution in contents.evolutions:
        strongest = torch.stack([torch.cat([top.deconvolution for top in row]) for row in evolution.strongest])
        values[f"growth-{evolution.key}"] = {
            "epochs": list(evolution.epochs),
            "means": evolution.means,
            "maps": list(evolution.maps),
            "deconvolution": strongest,
        }
    for k, occluded in enumerate(contents.occluded_images):
        by_class = occluded.class_occlusion
        assert by_class.predicted is not None
        values[f"hidden-{k}"] = {
            "image": occluded.image,
            "probability": by_class.score[0],
            "predicted": by_class.predicted[0],
            "corners": by_class.corners,
            "total_activation": occluded.map_occlusion.score[0],
            "deconvolution": occluded.deconvolution,
        }
    values["best"] = {name: maximum.x for name, maximum in contents.class_maxima}
    return values


def evolution_figure(evolution: Evolution) -> Figure:
    """Draw a row for each map and a column for each epoch: the strongest activation, projected back to the pixels.

    Each image shows the unit's receptive field on its own scale, with 0 as mid-grey; at most MAX_EPOCHS epochs, evenly
    chosen.
    Source: Zeiler and Fergus 2014, figure 4.
    """
    columns = np.unique(np.linspace(0, len(evolution.epochs) - 1, MAX_EPOCHS).round().astype(int)).tolist()
    size = (
        LEFT_MARGIN + len(columns) * (CELL_SIDE + CELL_GAP) + CELL_GAP,
        EPOCH_NAME_HEIGHT + len(evolution.maps) * (CELL_SIDE + CELL_GAP) + CELL_GAP,
    )
    figure = Figure(size)
    for row, (map_index, epoch_patches) in enumerate(zip(evolution.maps, evolution.strongest, strict=True)):
        bottom = size[1] - EPOCH_NAME_HEIGHT - (row + 1) * (CELL_SIDE + CELL_GAP)
        for column, k in enumerate(columns):
            plot = picture_axes(figure, LEFT_MARGIN + column * (CELL_SIDE + CELL_GAP), bottom, CELL_SIDE, CELL_SIDE)
            top, left, patch_bottom, right = epoch_patches[k].corners[0].tolist()
            patch = epoch_patches[k].deconvolution[0].double().numpy()[:, top:patch_bottom, left:right]
            show_image(plot, pixels(MID_GREY + MID_GREY * patch / white_level(patch)))
            if row == 0:
                name = f"epoch {evolution.epochs[k]}" if column == 0 else str(evolution.epochs[k])
                plot.set_title(name, fontsize=SMALL - 1, color=INK, pad=3)
        middle = (bottom + CELL_SIDE / 2) / size[1]
        figure.text(
            0.45 * LEFT_MARGIN / size[0], middle, str(map_index), fontsize=SMALL, color=INK, va="center", ha="center"
        )
    return figure


def means_figure(evolution: Evolution) -> Figure:
    """Draw the mean activation of the maps `evolution.maps` by epoch, and the largest mean of all maps of the layer."""
    figure, plot = curve_axes("epoch", "mean activation")
    ends: list[CurveEnd] = []
    for map_index, colour in zip(evolution.maps, depth_colours(len(evolution.maps)), strict=True):
        values = evolution.means[:, map_index].tolist()
        (line,) = plot.plot(evolution.epochs, values, color=colour, linewidth=1.3)
        figure.lines_by_name.append((f"map {map_index}", line))
        ends.append(CurveEnd(evolution.epochs[-1], values[-1], f"map {map_index}", colour))
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
    n_rows = math.ceil(len(patches) / MAPS_PER_ROW)
    maps_per_row = min(MAPS_PER_ROW, len(patches))
    size = (
        maps_per_row * (2 * PATCH_SIDE + PATCH_GAP + MAP_GAP) + MAP_GAP,
        n_rows * (PATCH_SIDE + NAME_HEIGHT + MAP_GAP) + MAP_GAP,
    )
    figure = Figure(size)
    for k, map_patches in enumerate(patches):
        row, column = divmod(k, MAPS_PER_ROW)
        left = MAP_GAP + column * (2 * PATCH_SIDE + PATCH_GAP + MAP_GAP)
        bottom = size[1] - (row + 1) * (PATCH_SIDE + NAME_HEIGHT + MAP_GAP)
        for position, tile in enumerate(patch_tiles(map_patches, images)):
            plot = picture_axes(figure, left + position * (PATCH_SIDE + PATCH_GAP), bottom, PATCH_SIDE, PATCH_SIDE)
            show_image(plot, tile)
            if position == 0:
                title = f"{map_patches.map}: {float(map_patches.value[0]):.3g}"
                plot.set_title(title, fontsize=SMALL - 1, color=INK, pad=2, loc="left")
    return figure


def patch_tiles(patches: TopPatches, images: Tensor) -> tuple[Any, Any]:
    """Return the picture of all reconstructions and that of all patches, (H, W) or (H, W, 3), values 0..1."""
    corners = patches.corners.tolist()
    height = max(bottom - top for top, _, bottom, _ in corners)
    width = max(right - left for _, left, _, right in corners)
    shape = (PATCHES_PER_ROW * (height + 1) - 1, PATCHES_PER_ROW * (width + 1) - 1)
    canvases = [np.full((images.shape[1], *shape), 1.0) for _ in range(2)]
    for k, (top, left, bottom, right) in enumerate(corners):
        tile_top, tile_left = (k // PATCHES_PER_ROW) * (height + 1), (k % PATCHES_PER_ROW) * (width + 1)
        reconstruction = patches.deconvolution[k].double().numpy()
        level = white_level(reconstruction[:, top:bottom, left:right])
        picture = images[patches.images[k]].double().numpy()
        for canvas, source in zip(canvases, (MID_GREY + MID_GREY * reconstruction / level, picture), strict=True):
            canvas[:, tile_top : tile_top + height, tile_left : tile_left + width] = MID_GREY
            # The part outside of the image remains grey, on the side where the patch is clipped.
            y = tile_top + (height - (bottom - top) if top == 0 else 0)
            x = tile_left + (width - (right - left) if left == 0 else 0)
            canvas[:, y : y + bottom - top, x : x + right - left] = source[:, top:bottom, left:right]
    return pixels(canvases[0]), pixels(canvases[1])


def white_level(reconstruction: Any) -> float:
    """Return the magnitude drawn as white: the 99 % quantile, since a single large value would make the rest grey."""
    magnitudes = np.abs(reconstruction)
    return float(np.quantile(magnitudes, WHITE_QUANTILE) or magnitudes.max() or 1.0)
