"""The view Draw as one HTML file: the passes of a picture, and for each unit its weights and one derivative."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from pellucid.layers.base import Trait
from pellucid.model import Model
from pellucid.studio.draw import DRAW
from pellucid.studio.draw.session import DrawSession, ExplainNumber, OpenModel, RunDrawing
from pellucid.studio.embedded import document, recorded
from pellucid.studio.session import Session
from pellucid.studio.view import Library
from pellucid.trace.passes import LayerCall

EPS = 1e-4  # of the finite difference, as in view.js
MAX_BYTES = 6_000_000  # of recorded answers about units: enough for LeNet, or for some units of each larger layer


def traced_file(model: Model, name: str, x: Tensor, label: int, what: str | None, title: str) -> str:
    """Return an HTML document that shows the passes of an input x (1, C, H, W), and needs no other file.

    name: name of the model. label: class index in the loss. what: an element, such as "head.scores.weight[3, 5]", or a
    tensor, whose element with the largest gradient is explained; None for the first layer's weights. title: title of
    the document.
    """
    library = Library((name,), lambda _: model)
    session = DrawSession(library, x)
    session.open(OpenModel())
    session.run(RunDrawing(label=label))
    subject = what or f"{_weighted(session)[0].path}.weight"
    subject = session.explain(ExplainNumber(subject)).fields["name"]
    tab = Session(library, {DRAW.name: session})
    answers = recorded(tab, _first_requests(session, label, subject))
    answers |= recorded(tab, _unit_requests(session), MAX_BYTES)
    state = {"fixed": "1", "recorded": "1", "model": name, "label": str(label), "what": subject}
    return document(DRAW, state, answers, title=title)


def _weighted(session: DrawSession) -> list[LayerCall]:
    return [call for call in session.traced.calls if Trait.WEIGHTED in call.layer.traits]


def _first_requests(session: DrawSession, label: int, subject: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the requests that the page sends at its start; their answers are always recorded."""
    yield "draw.open", {"model": session.name}
    yield "draw.run", {"label": label}
    yield from _explained(subject)
    path, _, index = subject.rpartition(".weight[")
    if path:
        yield "draw.weights", {"path": path, "row": int(index.partition(",")[0])}


def _unit_requests(session: DrawSession) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the requests that the page sends for a chosen unit, for the first units of all layers, then the second."""
    calls = _weighted(session)
    for unit in range(max(max(call.params["weight"].shape[:2]) for call in calls)):
        for call in calls:
            if unit < len(call.params["weight"]):
                yield "draw.weights", {"path": call.path, "row": unit}
                yield from _explained(f"{call.path}.weight[{', '.join(map(str, (unit, *_strongest(call, unit))))}]")
        if unit < calls[-1].params["weight"].shape[1]:  # of two layers, the page also shows the weights after a unit
            yield "draw.weights", {"path": calls[-1].path, "col": unit}


def _explained(what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "draw.explain", {"what": what}
    yield "draw.check", {"what": what, "eps": EPS}


def _strongest(call: LayerCall, unit: int) -> tuple[int, ...]:
    """Return the index of the weight that view.js chooses for a unit: the largest, or that of the largest product."""
    weight = call.params["weight"][unit].float().double()
    product = weight * call.x[0].flatten()[: weight.numel()].float().double() if weight.ndim == 1 else weight
    return tuple(map(int, np.unravel_index(int(product.abs().numpy().argmax()), weight.shape)))
