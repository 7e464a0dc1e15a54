"""The view Explain as one HTML file: all requests about one score of one picture, with their answers."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pellucid.model import Model
from pellucid.studio.embedded import document, recorded
from pellucid.studio.explain import EXPLAIN
from pellucid.studio.explain.requests import AimAt, OpenExplain, ShowPicture
from pellucid.studio.explain.session import RANDOM, ExplainSession
from pellucid.studio.session import Session
from pellucid.studio.view import Library
from pellucid.task import task_of
from pellucid.task.score_to_explain import Area


def explained_file(
    model: Model, name: str, image: str | Path, of: str | None = None, options: Mapping[str, Any] | None = None
) -> str:
    """Return an HTML document that explains one score for an image file by all methods, and needs no other file.

    name: name of the model. of: the score, as for `Task.score_to_explain`; None for the most confident one.
    options: the task's options of `pellucid explain`, such as the number of a box. Raises PellucidError for an image
    that cannot be read, and for a score that the model does not have.
    """
    task, file = task_of(model), Path(image)
    library = Library((name,), lambda _: model)
    picture = task.predictor(model).read(file)
    seen = task.resize_to_input(model, picture)
    place = task.area_to_explain(model, picture, **(options or {}))
    session = ExplainSession(library, {file.name: seen}, is_recorded=True)
    session.open(OpenExplain())
    session.picture(ShowPicture(file.name))
    session.aim(AimAt(of, place))  # an invalid `of` raises PellucidError before the slow requests
    answers = recorded(Session(library, {EXPLAIN.name: session}), _requests(session, file.name, of, place))
    state = {"fixed": "1", "file": "1"}
    if of is not None:
        state["of"] = of
    if place is not None:
        state["place"] = ".".join(map(str, place))
    return document(EXPLAIN, state, answers)


def _requests(
    session: ExplainSession, picture: str, of: str | None, place: Area | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the requests of the page, each after the previous one has been answered."""
    yield "explain.open", {}
    yield "explain.picture", {"sample": picture}
    yield "explain.aim", {"of": of, "place": place}
    for method in session.methods:
        yield "explain.run", {"method": method}
    for method in (RANDOM, *session.maps):
        yield "explain.curve", {"method": method}
    yield "explain.relevance", {}
    for layer in session.layers:
        yield "explain.maps", {"path": layer["path"]}
    done = -1
    while len(session.hidden) > done and "occlusion" not in session.maps:  # else the last answer is an error
        done = len(session.hidden)
        yield "explain.occlude", {"start": done}
