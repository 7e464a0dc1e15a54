"""The reference page of the protocol: it names every request with its fields, and every field of the answers."""

import re
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import pytest

from pellucid.base.settings.annotations import arguments_of
from pellucid.studio.session import REQUESTS, VIEWS
from pellucid.studio.view import View
from tests.studio.talk import ROWS, Tab, names


def test_every_request_has_a_row() -> None:
    pytest.importorskip("pellucid.lessons")  # a folder that may be left out, with its requests
    assert ROWS.keys() == REQUESTS.keys(), "give each request of a view its row in docs/reference/studio.md"


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_has_the_files_of_its_page_and_messages_of_its_name(view: View) -> None:
    assert [name for name in ("view.js", "view.css") if not (view.page / name).is_file()] == []
    assert [kind for kind in view.kinds if not kind.startswith(f"{view.name}.")] == [], "begin them with its name"


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_has_a_section_of_the_how_to_page(view: View) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/studio.md").read_text(encoding="utf-8")
    assert f"\n## {view.title}\n" in page, "describe the view in docs/how-to/studio.md"


@pytest.mark.parametrize("kind", REQUESTS)
def test_the_fields_of_a_request_are_those_of_the_page(kind: str) -> None:
    written = ROWS[kind][0]
    for name, slot in arguments_of(REQUESTS[kind]).items():
        assert f"`{name}`" in written, name
        if slot.default not in (MISSING, None, False) and not isinstance(slot.default, (tuple, dict, list)):
            assert re.search(rf"\({str(slot.default).lower()}\)", written.lower()), (name, slot.default)


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, Any]]:
    """The answers to the requests that need no training."""
    tab, found = Tab(), dict[str, dict[str, Any]]()

    def ask(kind: str, **fields: Any) -> None:
        found[kind] = tab.ask(kind, **fields)
        assert found[kind]["kind"] == kind, found[kind]

    ask("studio.open")
    ask("learn.open")
    ask("learn.lesson", name="descent")
    ask("learn.run", name="descent", step="rates")
    ask("draw.open", model="mnist-lenet")
    ask("draw.sample", name="3")
    found["draw.run"] = tab.draw(label=3)
    what = "head.scores.weight[3, 5]"
    for kind, fields in {
        "draw.weights": {"path": "head.scores", "row": 3},
        "draw.explain": {"what": what},
        "draw.check": {"what": what},
        "draw.step": {"rate": 0.1},
        "draw.undo": {},
        "draw.nonsense": {"what": "noise"},
        "play.open": {},
        "play.learn": {"steps": 1},
        "play.explain": {"what": "head.scores.weight[0, 1]"},
        "play.surface": {},
        "play.code": {},
        "explain.open": {"model": "mnist-lenet"},
        "explain.picture": {"sample": "digit 3"},
        "explain.aim": {},
        "explain.run": {"method": "lrp"},
        "explain.curve": {"method": "lrp"},
        "explain.relevance": {},
        "explain.occlude": {"start": 0},
        "explain.maps": {"path": "features.conv1"},
        "explain.top": {"path": "features.conv1", "map": 0},
        "inspect.open": {"model": "mnist-lenet"},
        "inspect.tiles": {"path": "features.conv1", "show": "filters"},
        "inspect.histograms": {"path": "features.conv1"},
        "inspect.verify": {"path": "features.conv1"},
        "train.open": {},
        "train.recipe": {"recipe": "mnist-lenet"},
    }.items():
        ask(kind, **fields)
    return found


def test_the_fields_of_the_answers_are_those_of_the_page(answers: dict[str, dict[str, Any]]) -> None:
    for kind, answer in answers.items():
        written = names(ROWS[kind][1])
        tensors = {name for name in answer["tensors"] if name.isidentifier() and not re.search(r"\d$", name)}
        if kind not in (
            "draw.run",
            "inspect.histograms",
            "play.open",
            "play.learn",
        ):  # their fields are named by layers and parameters
            assert tensors <= written, (kind, tensors - written)


def test_the_page_names_no_field_that_an_answer_lacks(answers: dict[str, dict[str, Any]]) -> None:
    for kind in ("draw.run", "draw.check", "draw.step", "draw.undo", "draw.sample", "explain.aim", "explain.curve"):
        written = names(ROWS[kind][1].replace("`∂NAME`", ""))
        assert written <= answers[kind].keys() | answers[kind]["tensors"].keys(), kind
