"""Writing the page, its pictures and their numbers into a folder."""

from pathlib import Path

import torch
from matplotlib.figure import Figure

from pellucid.explain.page.gather import Hidden, LayerLook, Look
from pellucid.explain.page.html import page
from pellucid.explain.pictures.files import packed
from pellucid.explain.pictures.growth import growth, means
from pellucid.explain.pictures.patches import patch_sheet
from pellucid.files import make_folder, write_atomically
from pellucid.report.figures.heat import heat
from pellucid.report.figures.places import places
from pellucid.report.figures.sheet import filters, sheet
from pellucid.report.write import write_page as write_page_and_figures


def write_page(folder: Path, found: Look) -> Path:
    """Write index.html, which needs no other file, and each picture as PNG with its numbers as .npz beside it."""
    make_folder(folder / "figures")
    for name, numbers in numbers_of(found).items():
        write_atomically(folder / "figures" / f"{name}.npz", packed(numbers), durable=False)
    figures = draw(found)
    return write_page_and_figures(folder / "index.html", page(found, figures), figures)


def draw(found: Look) -> dict[str, Figure]:
    """Return the page's pictures by name."""
    figures: dict[str, Figure] = {}
    for layer in found.layers:
        key = _key(layer)
        figures[f"filters-{key}"] = filters(layer.weight.cpu(), f"{layer.path}.weight")
        figures[f"maps-{key}"] = sheet(layer.outputs.cpu(), layer.output)
        if layer.top:
            figures[f"patches-{key}"] = patch_sheet(layer.top, found.images)
    for one in found.grown:
        key = one.path.replace(".", "-")
        figures[f"growth-{key}"] = growth(one)
        figures[f"means-{key}"] = means(one)
    for k, one in enumerate(found.hidden):
        probability = one.classes.score[0].cpu()
        seen = one.classes.predicted
        assert seen is not None
        height, width = one.image.shape[1:]
        effect = one.total.effect(height, width)[0, 0].cpu()
        figures[f"hidden-{k}-class"] = places(probability, seen[0].cpu(), found.classes, f"p({one.label})")
        figures[f"hidden-{k}-map"] = heat(one.image.cpu(), effect, f"fall of {one.map}", signed=True)
        back = one.deconvolution.sum(0).cpu()
        figures[f"hidden-{k}-deconvolution"] = heat(one.image.cpu(), back, f"{one.map}, projected down", signed=True)
    names = [f"{name}: {best.scores[-1]:.3g}" for name, best in found.best]
    pictures = [best.x[0].mean(0).cpu().numpy() for _, best in found.best]
    figures["best"] = sheet(pictures, "the best picture of each class, and its score", names, columns=5)
    return figures


def numbers_of(found: Look) -> dict[str, dict]:
    """Return what the pictures show, by name."""
    numbers: dict[str, dict] = {}
    for layer in found.layers:
        key = _key(layer)
        numbers[f"filters-{key}"] = {"weight": layer.weight.cpu()}
        numbers[f"maps-{key}"] = {"outputs": layer.outputs.cpu()}
        for one in layer.top:
            numbers[f"patches-{key}-{one.map}"] = {
                "images": one.images, "value": one.value.cpu(), "corners": one.corners,
                "deconvolution": one.deconvolution.cpu(),
            }  # fmt: skip
    for one in found.grown:
        strongest = torch.stack([torch.cat([top.deconvolution for top in row]) for row in one.strongest])
        numbers[f"growth-{one.path.replace('.', '-')}"] = {
            "epochs": list(one.epochs), "means": one.means.cpu(), "maps": list(one.maps),
            "deconvolution": strongest.cpu(),
        }  # fmt: skip
    for k, one in enumerate(found.hidden):
        numbers[f"hidden-{k}"] = _hidden(one)
    numbers["best"] = {name: best.x.cpu() for name, best in found.best}
    return numbers


def _hidden(one: Hidden) -> dict:
    seen = one.classes.predicted
    assert seen is not None
    return {
        "image": one.image.cpu(),
        "probability": one.classes.score[0].cpu(),
        "predicted": seen[0].cpu(),
        "corners": one.classes.corners,
        "total_activation": one.total.score[0].cpu(),
        "deconvolution": one.deconvolution.cpu(),
    }


def _key(layer: LayerLook) -> str:
    return layer.path.replace(".", "-")
