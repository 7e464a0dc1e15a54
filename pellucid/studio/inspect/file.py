"""The view Inspect as one HTML file: the ledger of a model, and the tiles and tables of each layer."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.model import Model
from pellucid.studio.embedded import document, recorded
from pellucid.studio.inspect import INSPECT
from pellucid.studio.inspect.session import InspectSession, OpenGraph, ReadTiles
from pellucid.studio.session import Session
from pellucid.studio.view import Library

MAX_BYTES = 8_000_000  # of recorded tiles: enough for all channels of a small network, or some layers of a large one


def inspected_file(model: Model, name: str) -> str:
    """Return an HTML document that shows the layers of a model, and needs no other file; name: its name."""
    library = Library((name,), lambda _: model)
    session = InspectSession(library)
    session.open(OpenGraph(name))
    tab = Session(library, {INSPECT.name: session})
    answers = recorded(tab, _first_requests(session, name))
    answers |= recorded(tab, _tile_requests(session), MAX_BYTES)
    return document(INSPECT, {"fixed": "1", "model": name}, answers, title=f"{name}, {INSPECT.title}")


def _first_requests(session: InspectSession, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the requests with small answers: the ledger, and histograms and gradients of all layers."""
    yield "inspect.open", {"model": name}
    for path in session.rows:
        yield "inspect.histograms", {"path": path}
        yield "inspect.verify", {"path": path}


def _tile_requests(session: InspectSession) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the requests for filters and feature maps, smallest first, then for filters of other input channels."""
    channels = {}
    for path, row in sorted(session.rows.items(), key=lambda item: item[1].out.numel()):
        if row.to_json()["weight"]:
            yield "inspect.tiles", {"path": path, "show": "filters", "channel": 0}
            with suppress(PellucidError):  # a weight with one axis; the recorded answer is the error
                channels[path] = session.tiles(ReadTiles(path)).fields["channels"]
        yield "inspect.tiles", {"path": path, "show": "maps", "channel": 0}
    for path, count in channels.items():
        for channel in range(1, count):
            yield "inspect.tiles", {"path": path, "show": "filters", "channel": channel}
