"""`pellucid trace --html` writes the view Draw, whose numbers equal those of PyTorch's automatic differentiation."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid import Dense, Flatten, Model, Sequential
from tests.cli.conftest import Cli, cli  # noqa: F401  (a fixture)
from tests.report.test_browser import FIND_FAULTS, browser  # noqa: F401  (a fixture)
from tests.studio.talk import parsed
from tests.studio.test_browser import WAIT, until

SUBJECT = "head.scores.weight[5, 17]"


@pytest.fixture
def stroke(tmp_path: Path) -> Path:
    """The file of a picture of the digit 1."""
    pixels = np.full((84, 84), 255, np.uint8)
    pixels[12:72, 38:47] = 20
    Image.fromarray(pixels).save(tmp_path / "stroke.png")
    return tmp_path / "stroke.png"


def given_in(page: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the state of a page, and its recorded answers with their tensors by request."""
    match = re.search(r'<script[^>]*id="given"[^>]*>(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert match is not None
    given = json.loads(match[1])
    answers = {key: parsed(base64.b64decode(answer)) for key, answer in given["answers"].items()}
    return given["state"], {key: {**header, "tensors": tensors} for key, (header, tensors) in answers.items()}


def test_the_explanations_of_the_page_equal_the_gradients(cli: Cli, stroke: Path) -> None:  # noqa: F811
    page = stroke.with_name("page.html")
    result = cli("trace", "mnist-mlp-100", str(stroke), "--target", "5", "--weight", SUBJECT, "--html", str(page))
    assert result.code == 0, result.err
    state, answers = given_in(page)
    assert (state["label"], state["what"]) == ("5", SUBJECT)
    run = answers['draw.run [["label",5]]']
    x = run["tensors"]["x"].double().flatten()
    params = {name: one.double() for name, one in Model.load("mnist-mlp-100").weights.items()}
    first = params["features.dense1.weight"].requires_grad_()
    last = params["head.scores.weight"].requires_grad_()
    hidden = torch.nn.functional.linear(x, first, params["features.dense1.bias"]).sigmoid()
    scores = torch.nn.functional.linear(hidden, last, params["head.scores.bias"])
    expected = torch.nn.functional.one_hot(torch.tensor(5), 10).double()
    cost = torch.nn.functional.binary_cross_entropy_with_logits(scores, expected, reduction="sum")
    cost.backward()
    assert first.grad is not None
    assert last.grad is not None
    assert run["cost"] == pytest.approx(float(cost.detach()), rel=1e-6)
    assert answers[f'draw.explain [["what","{SUBJECT}"]]']["gradient"] == pytest.approx(
        float(last.grad[5, 17]), rel=1e-6
    )
    for unit in range(100):  # explained: the weight of the input that changes the unit most
        best = int((first[unit] * x).abs().argmax())
        explained = answers[f'draw.explain [["what","features.dense1.weight[{unit}, {best}]"]]']
        assert explained["gradient"] == pytest.approx(float(first.grad[unit, best]), rel=1e-6, abs=1e-12)
        column = answers[f'draw.weights [["col",{unit}],["path","head.scores"]]']["tensors"]["weight"]
        torch.testing.assert_close(column, last[:, unit].detach().float())


def test_tables_are_written_where_the_view_cannot_show_it(cli: Cli, stroke: Path) -> None:  # noqa: F811
    page = stroke.with_name("page.html")
    words = ("--target", "5", "--weight", SUBJECT, "--nudge", "0.1")
    assert cli("trace", "mnist-mlp-100", str(stroke), *words, "--html", str(page)).code == 0
    assert 'id="given"' not in page.read_text("utf-8")
    assert SUBJECT in page.read_text("utf-8")
    one_output = Model(Sequential(Flatten(), Dense(1)), loss="binary_cross_entropy", input_shape=(1, 8, 8))
    one_output.save(stroke.with_name("model.safetensors"))
    assert cli("trace", str(stroke.with_name("model.safetensors")), str(stroke), "--html", str(page)).code == 0
    assert 'id="given"' not in page.read_text("utf-8")


@pytest.mark.real
@pytest.mark.parametrize(
    ("model", "unit", "next_subject"),
    [("mnist-mlp-100", '[data-k="h7"]', "hidden 7"), ("mnist-lenet", '[data-unit="features.conv2:5"]', "conv2")],
)
def test_a_click_on_a_unit_explains_its_strongest_weight(
    model: str,
    unit: str,
    next_subject: str,
    cli: Cli,  # noqa: F811
    stroke: Path,
    browser: Any,  # noqa: F811
) -> None:
    page = stroke.with_name("page.html")
    assert cli("trace", model, str(stroke), "--target", "5", "--html", str(page)).code == 0
    context, faults = browser.new_context(viewport={"width": 390, "height": 900}, color_scheme="dark"), list[str]()
    tab = context.new_page()
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("console", lambda one: faults.append(one.text) if one.type == "error" else None)
    tab.on("request", lambda one: faults.append(one.url) if not one.url.startswith(("file:", "data:")) else None)
    tab.goto(page.as_uri())
    tab.wait_for_selector(".check:not([data-numeric=''])", timeout=WAIT)
    assert tab.inner_text("#read") == "1"
    assert (tab.is_disabled("#label"), tab.input_value("#label")) == (True, "5")
    assert tab.locator(".apply").count() == 0
    before = tab.inner_text("#subject")
    assert next_subject not in before
    tab.click(unit)
    until(tab, f"document.querySelector('#subject').textContent.includes('{next_subject}')")
    assert tab.is_hidden("#problem")
    numeric = float(tab.get_attribute(".check", "data-numeric"))
    assert float(tab.get_attribute("[data-gradient]", "data-gradient")) == pytest.approx(numeric, rel=1e-3, abs=1e-7)
    assert tab.evaluate(FIND_FAULTS) == []
    context.close()
    assert faults == []
