"""`pellucid lesson playground --html` writes recorded trainings that a browser shows without a server."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import torch
from torch.nn.functional import cross_entropy

from pellucid.cli.main import main
from pellucid.studio.play.file import EPOCHS, TRAININGS
from tests.cases import mostly_heavy
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


@pytest.mark.heavy
def test_the_file_is_small(file: Path) -> None:
    assert file.stat().st_size < 4_000_000


@pytest.mark.heavy
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


@pytest.mark.heavy
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


LINKS = {  # settings, and the steps of which an epoch consists
    "problem=spirals&hidden=4%7E4&rate=0.3&steps=300": 10,
    "problem=digits&batch=50&steps=8": 4,
    "problem=hills&optimizer=adam&rate=0.03&l2=1&inputs=x1%7Ex2%7Esin+x1&seed=3&steps=20": 10,
    "problem=own&points=-1.5_1.5_1*0.5_0_0*2_-1_1&batch=1&hidden=%7E&steps=6": 3,
    "steps=33": 10,
    "": 10,
}


@pytest.mark.parametrize("query", mostly_heavy(LINKS, 3))
def test_a_copied_link_is_recorded_at_its_step(query: str, tmp_path: Path, browser: Any) -> None:  # noqa: F811
    path = tmp_path / "mine.html"
    assert main(["lesson", f"http://127.0.0.1:8010/#play?{query}", "--html", str(path)]) == 0
    state, answers = given_in(path)
    given = dict(parse_qsl(query))
    steps = int(given.pop("steps", 0))
    kind = "play.learn" if steps else "play.open"
    answer = answers[f"0.{state['start']} {kind} []"]
    assert (answer["step"], answer["batches"]) == (steps, LINKS[query])
    if steps and steps % LINKS[query] == 0:
        text = answers[f"0.{state['start']} play.code []"]["text"]
        assert f"({given.get('rate', '0.3' if 'digits' in query else '0.1')})" in text
        for path_of_weight, weight in learned_by(text)["model"].weights.items():
            torch.testing.assert_close(answer["tensors"][path_of_weight], weight.float())
    page = browser.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("#play-chart svg", timeout=WAIT)
    until(page, f"document.querySelector('#play-frame').value === '{state['start']}'")
    shown = float(page.get_attribute("#play-train", "data-value"))
    assert shown == pytest.approx(answer["loss"]["train"], rel=1e-9)
    page.close()
    assert faults == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("rate=fast", "rate=fast in the link is not a number"),
        ("hidden=4%7Ex", "is not a number"),
        ("problem=own&points=1_x_1", "is not a number"),
        ("problem=own&points=1_2_1*3_4", "is not a number"),
        ("problem=own", "needs points"),
        ("speed=3", "no setting 'speed'"),
        ("problem=mars", "no problem 'mars'"),
        ("hidden=99", "hidden must be"),
        ("steps=-1", "steps must be from 0 to 20000"),
        ("steps=20001", "steps must be from 0 to 20000"),
        ("steps=1.5", "is not a number"),
    ],
)
def test_a_link_that_the_playground_cannot_open_is_refused(
    query: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lesson", f"#play?{query}", "--html", str(tmp_path / "x.html")]) == 2
    assert message in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("tab", [(390, "light"), (1440, "dark")], indirect=True)
def test_the_file_is_accessible_and_fits_its_screen(tab: Any) -> None:
    go_to(tab, 3)
    assert tab.evaluate(FIND_FAULTS) == []
    assert serious_faults(tab) == []
