"""The view Inspect as one HTML file: the ledger of a model, and what the view shows of each layer."""

from collections.abc import Iterator
from typing import Any

from pellucid.model import Model
from pellucid.studio.embedded import document, recorded
from pellucid.studio.inspect import INSPECT
from pellucid.studio.inspect.session import InspectSession, OpenGraph
from pellucid.studio.session import Session
from pellucid.studio.view import Library

MAX_BYTES = 8_000_000  # of recorded answers: all channels of a small network, and some layers of a large one


def inspected_file(model: Model, name: str) -> str:
    """Return an HTML document that shows the layers of a model, and needs no other file; name: of the model."""
    library = Library((name,), lambda _: model)
    session = InspectSession(library)
    session.open(OpenGraph(name))
    answers = recorded(Session(library, {INSPECT.name: session}), _requests(session, name), MAX_BYTES)
    return document(INSPECT, {"fixed": "1", "model": name}, answers, title=f"{name}, {INSPECT.title}")


def _requests(session: InspectSession, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the requests of the page: what is small of all layers, then their filters of other channels."""
    yield "inspect.open", {"model": name}
    layers = [row.to_json() for row in session.rows.values()]
    for layer in layers:
        path = layer["path"]
        if layer["weight"]:
            yield "inspect.tiles", {"path": path, "show": "filters", "channel": 0}
        yield "inspect.histograms", {"path": path}
        yield "inspect.tiles", {"path": path, "show": "maps", "channel": 0}
    for layer in layers:
        yield "inspect.verify", {"path": layer["path"]}
    for layer in layers:
        channels = layer["weight"][1] if layer["weight"] and len(layer["weight"]) == 4 else 1
        for channel in range(1, channels):
            yield "inspect.tiles", {"path": layer["path"], "show": "filters", "channel": channel}
