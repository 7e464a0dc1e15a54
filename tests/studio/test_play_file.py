"""`pellucid lesson playground --html` writes recorded trainings that a browser shows without a server."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from pellucid.cli.main import main
from pellucid.studio.play.file import EPOCHS, TRAININGS
from tests.report.test_browser import FIND_FAULTS, browser  # noqa: F401  (a fixture)
from tests.studio.accessibility import serious_faults
from tests.studio.test_browser import WAIT, until
from tests.studio.test_traced_file import given_in

pytestmark = pytest.mark.real
NAMES = [*TRAININGS]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("playground") / "play.html"
    assert main(["lesson", "playground", "--html", str(path)]) == 0
    return path


@pytest.fixture
def tab(browser: Any, file: Path, request: Any) -> Iterator[Any]:  # noqa: F811
    width, scheme = getattr(request, "param", (1280, "light"))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda one: faults.append(one.text) if one.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(file.as_uri())
    page.wait_for_selector("#play-chart svg", timeout=WAIT)
    yield page
    context.close()
    assert faults == []


def learned_by(text: str) -> dict[str, Any]:
    """Return the names of a Python text of the playground after it has run."""
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(text, names)
    return names


def test_the_file_is_small(file: Path) -> None:
    assert file.stat().st_size < 4_000_000


@pytest.mark.parametrize("name", ["moons, with L2", "hills, values", "digits"])
def test_what_is_recorded_is_what_python_learns(name: str, file: Path) -> None:
    _, answers = given_in(file)
    number, index = NAMES.index(name), EPOCHS.index(12)
    state = answers[f"{number}.{index} play.learn []"]
    names = learned_by(answers[f"{number}.{index} play.code []"]["text"])
    weights = names["model"].weights
    for path, weight in weights.items():
        torch.testing.assert_close(state["tensors"][path], weight.float())
    half = len(names["x"]) // 2
    loss = names["model"].loss(names["model"](names["x"][half:]), names["target"][half:])[0]
    assert state["loss"]["test"] == pytest.approx(float(loss), rel=1e-9)
    assert state["epoch"] == 12


def go_to(tab: Any, epoch: int) -> None:
    tab.fill("#play-frame", str(EPOCHS.index(epoch)))
    until(tab, f"document.querySelector('#play-epoch').dataset.value === '{epoch}'")


def test_a_reader_moves_through_a_training_and_chooses_another(tab: Any) -> None:
    assert tab.inner_text("#play-epoch") == "0"
    tab.click("#play-step")
    until(tab, "document.querySelector('#play-epoch').dataset.value === '1'")
    tab.select_option("#play-training", label="moons, overfitted")
    until(tab, "document.querySelectorAll('[data-unit]').length === 25")
    go_to(tab, 40)
    assert "overfits" in tab.inner_text("#play-gap")
    assert len(tab.get_attribute("#play-chart path.bold", "d").split("L")) == EPOCHS.index(40) + 1
    go_to(tab, 2)
    tab.select_option("#play-training", label="digits")
    tab.wait_for_selector(".pictures")
    tab.click("#play-go")
    until(tab, "document.querySelector('#play-problem').textContent.startsWith('The recording ends here')")
    assert tab.get_attribute("#play-frame", "value") == "0"
    assert tab.evaluate("document.querySelector('#play-frame').value") == str(len(EPOCHS) - 1)
    tab.click("#play-code summary")
    until(tab, "document.querySelector('#play-code pre').textContent.includes('digits')")
    names = learned_by(tab.text_content("#play-code pre"))
    for part, name in ((slice(0, 200), "train"), (slice(200, None), "test")):
        loss = cross_entropy(names["model"](names["x"][part]), names["target"][part])
        assert float(tab.get_attribute(f"#play-{name}", "data-value")) == pytest.approx(float(loss), rel=1e-9)


@pytest.mark.parametrize("tab", [(390, "light"), (1440, "dark")], indirect=True)
def test_the_file_is_accessible_and_fits_its_screen(tab: Any) -> None:
    go_to(tab, 3)
    assert tab.evaluate(FIND_FAULTS) == []
    assert serious_faults(tab) == []
