"""The page of a network: what its sections show, from values to HTML."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from pellucid.explain.page.gather import Look
from pellucid.explain.retrained import Retrained
from pellucid.report.page import render

PAPER = "Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks"


def page(found: Look, figures: Mapping[str, Figure]) -> str:
    """Return the whole HTML document."""
    results = [
        (f"accuracy on {len(found.images):,} images of {found.data}", _percent(found.accuracy)),
        ("convolutions", str(len(found.layers))),
        ("feature maps", str(sum(layer.maps for layer in found.layers))),
        ("that no image moves", str(sum(layer.silent for layer in found.layers))),
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
        return f"{name}: cannot be ({row.why:.80})", "", "", ""
    return name, f"{row.parameters:,}", _percent(row.train_accuracy), _percent(row.accuracy)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
