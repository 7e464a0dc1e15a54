"""The page: its sections, in reading order."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from pellucid.explain.page.gather import LayerLook, Look
from pellucid.explain.retrained import Retrained, Retraining
from pellucid.train.figures.style import svg
from pellucid.train.report.html import element, figure, missing, section, table
from pellucid.train.report.style import CSS

Figures = Mapping[str, Figure]
PAPER = "Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks"


def page(found: Look, figures: Figures) -> str:
    """Return the whole HTML document."""
    sections = [
        *((f"layer-{k}", layer.path, _layer(found, layer, figures)) for k, layer in enumerate(found.layers)),
        ("occlusion", "Occlusion", _occlusion(found, figures)),
        ("ablation", "Ablation", _ablation(found)),
        ("best", "What each class asks for", _best(found, figures)),
        ("evolution", "Evolution over epochs", _evolution(found, figures)),
    ]
    links = "".join(f'<a href="#{name}">{element("span", heading)}</a>' for name, heading, _ in sections)
    title = f"What {found.name} looks for"
    about = f"After {PAPER}: what the maps of each layer answer to, and what the network needs them for."
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f"{element('title', f'{title} · Pellucid')}<style>{CSS}</style></head>",
            "<body>",
            f"<header>{element('h1', title)}",
            element("p", about, class_="about"),
            _tiles(found),
            f'<nav aria-label="Sections">{links}</nav></header>',
            "<main>",
            *(section(name, heading, body) for name, heading, body in sections),
            "</main>",
            "</body></html>",
            "",
        ]
    )


def _tiles(found: Look) -> str:
    maps = sum(layer.maps for layer in found.layers)
    tiles = [
        (f"accuracy on {len(found.images):,} images of {found.data}", f"{100 * found.accuracy:.2f} %"),
        ("convolutions", str(len(found.layers))),
        ("feature maps", str(maps)),
        ("that no image moves", str(sum(layer.silent for layer in found.layers))),
    ]
    pairs = (element("dt", name) + element("dd", value) for name, value in tiles)
    return f'<dl class="big">{"".join(f"<div>{pair}</div>" for pair in pairs)}</dl>'


def _layer(found: Look, layer: LayerLook, figures: Figures) -> str:
    key = layer.path.replace(".", "-")
    parts: list[str] = []
    if layer.top:
        shown = "" if len(layer.top) == layer.maps else f" of its {layer.maps} maps the {len(layer.top)} strongest"
        words = (
            f"{layer.output}:{shown or ' all its maps'}. On the left of each, the nine strongest activations over "
            f"{len(found.images):,} images, one from each image, sent back to the pixels by a DeconvNet (0 is mid-"
            f"grey, each on its own scale, the strongest hundredth cut off); on the right the patches that caused "
            f"them, the whole receptive field, here of {layer.field[0]} x {layer.field[1]} pixels. What the image's "
            "edge cuts off is grey. Above: the map's number and its largest activation."
        )
        name = f"patches-{key}"
        parts.append(figure(svg(figures[name], name), f"Top patches of {layer.output}", words))
    else:
        parts.append(missing("No image moves any of its maps above 0."))
    if layer.silent:
        parts.append(missing(f"{layer.silent} of its {layer.maps} maps no image moves above 0."))
    name = f"filters-{key}"
    parts.append(figure(svg(figures[name], name), f"Filters of {layer.path}", "The filters, one row for each."))
    name = f"maps-{key}"
    words = "The maps of the first image below."
    return "".join([*parts, figure(svg(figures[name], name), f"Maps of {layer.output}", words)])


def _occlusion(found: Look, figures: Figures) -> str:
    parts: list[str] = []
    for k, one in enumerate(found.hidden):
        side = int(one.classes.corners[0, 0, 2])
        captions = {
            "map": f"By how much the total activation of {one.map}, the strongest map of its layer for this image, "
            f"falls when a grey square of {side} x {side} pixels hides a pixel (the mean over such squares).",
            "deconvolution": "The same map's strongest activation, sent back to the pixels. Where this picture is "
            "strong, the one above should be too.",
            "class": f"The probability of {one.label}, and the class that the model sees, for each place of it.",
        }
        for what, words in captions.items():
            name = f"hidden-{k}-{what}"
            parts.append(figure(svg(figures[name], name), f"Occlusion of image {k + 1}: {what}", words))
    return "".join(parts)


def _ablation(found: Look) -> str:
    head = ("removed", "parameters", "accuracy with 0", "accuracy with the mean")
    rows = [
        (zero.name, f"{zero.parameters:,}", f"{100 * zero.accuracy:.2f} %", f"{100 * mean.accuracy:.2f} %")
        for zero, mean in zip(found.ablations, found.by_mean, strict=True)
    ]
    words = (
        "What is left when a layer's outputs are 0, or each map's mean over all images and places. The network is not "
        "trained again; the paper's table 3 trains again, so that there the loss is smaller (--retrain does so)."
    )
    plain = element("p", words) + table("Accuracy without layers", head, rows, numbers=(1, 2, 3))
    return plain + (_retrained(found.retrained) if found.retrained is not None else "")


def _best(found: Look, figures: Figures) -> str:
    words = (
        "Gradient ascent from grey noise, with jitter, blur and decay: pictures that the network is surer of than of "
        "any real one. They show what it asks for, not what a class looks like."
    )
    return figure(svg(figures["best"], "best"), "The best picture of each class", words)


def _evolution(found: Look, figures: Figures) -> str:
    if not found.grown:
        return missing(
            "This needs the weights of several epochs: train with train.keep=[0,1,2,5,10] and give the run folder, or "
            "let --retrain train the network anew."
        )
    whose = "of a training of the same network from nothing, for this page" if found.anew else "of its training"
    parts = [element("p", f"The weights are those {whose}.")]
    for one in found.grown:
        key = one.path.replace(".", "-")
        words = (
            f"{one.path}: a row for each of the {len(one.maps)} maps with the largest mean in the end, a column for "
            f"each epoch; the strongest activation over {len(found.images):,} images, sent back to the pixels, each on "
            "its own scale with 0 in mid-grey. A jump means that another image has become the strongest."
        )
        parts.append(figure(svg(figures[f"growth-{key}"], f"growth-{key}"), f"Evolution of {one.path}", words))
        words = f"{one.path}: each map's mean activation over all images and places, and the largest of any map."
        parts.append(figure(svg(figures[f"means-{key}"], f"means-{key}"), f"Mean activations of {one.path}", words))
    return "".join(parts)


def _retrained(again: Retraining) -> str:
    head = ("changed", "parameters", "train accuracy", "accuracy")
    rows = [_retrained_row(row) for row in again.rows]
    words = (
        f"Networks trained anew from nothing, all alike: {again.epochs} epochs of {again.images:,} images by Adam. "
        "They compare with each other, not with the model above, which learned for longer."
    )
    return element("p", words) + table("Accuracy of networks trained anew", head, rows, numbers=(1, 2, 3))


def _retrained_row(row: Retrained) -> tuple[str, ...]:
    removed = "without " if row.variant.factor == 0 else ""
    name = "the whole network" if not row.variant.paths else f"{removed}{row.variant.name}"
    if row.accuracy is None or row.train_accuracy is None:
        return f"{name}: cannot be ({row.why:.80})", "", "", ""
    return name, f"{row.parameters:,}", f"{100 * row.train_accuracy:.2f} %", f"{100 * row.accuracy:.2f} %"
