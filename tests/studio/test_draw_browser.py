"""The view Draw in a browser: highlighted links, and cards of the units under the pointer."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid import Conv2d, Dense, Flatten, Model, ReLU, Sequential
from pellucid.models import mlp
from tests.cases import mostly_heavy
from tests.report.test_browser import browser  # noqa: F401  (a fixture)
from tests.studio.talk import parsed
from tests.studio.test_browser import MINUS, WAIT, Page, cookies, opened, served  # noqa: F401  (fixtures)
from tests.studio.test_command import studio

pytestmark = pytest.mark.real
HIGHLIGHTED = """[...document.querySelectorAll(".tile.lit")].map(one => one.ariaLabel || one.dataset.tip).concat(
    [...document.querySelectorAll(".cells")].flatMap(one => [...one.querySelectorAll("rect.lit")]
        .map(rect => `${one.dataset.cells} ${rect.getAttribute("x")}`)),
    [...document.querySelectorAll(".input.lit")].map(() => "input"))"""


@pytest.mark.parametrize(
    ("what", "factor", "expected"),
    mostly_heavy(
        [
            ("features.conv1.weight[2, 0, 1, 4]", None, {"input", "features.conv1 map 2"}),
            ("features.conv2.weight[3, 2, 1, 4]", None, {"features.pool1 map 2", "features.conv2 map 3"}),
            ("head.dense1.weight[5, 130]", 2, {"features.pool2 map 5"}),  # the 25 inputs of one map
            ("head.dense2.weight[3, 7]", 0, {"head.dense2 3", *(f"head.scores {unit}" for unit in range(10))}),
            ("head.dense2.weight[3, 7]", 1, {"head.dense2 3"}),
            ("head.dense2.weight[3, 7]", 2, {"head.dense1 7"}),
            ("head.relu2.y[0, 3]", None, {f"head.scores {unit}" for unit in range(10)}),
        ],
        3,
    ),
)
def test_the_units_of_a_link_are_highlighted_in_the_network(
    what: str,
    factor: int | None,
    expected: set[str],
    opened: Any,  # noqa: F811
) -> None:
    page = opened(f"model=mnist-lenet&sample=3.1&label=5&what={what}")
    if factor is not None:
        page.tab.click(f'[data-factor="{factor}"]')
    assert set(page.tab.evaluate(HIGHLIGHTED)) == expected


def terms_of(card: str) -> tuple[float, int, float]:
    """Return the evaluated sum of the products shown on a card, the number of all products, and the output."""
    text = re.search(
        r"Σ w·x \+ b = (.*?)(?: \(([\d]+) more\))?((?: [+-] [\de.-]+)?) = ([\de.-]+)", card.replace(MINUS, "-")
    )
    assert text, card
    left, others, bias, output = text.groups()
    return eval((left + bias).replace("·", "*")), left.count("·") + int(others or 0), float(output)


def input_of(page: Page) -> Tensor:
    answers = map(parsed, page.frames)
    return [tensors["x"] for header, tensors in answers if header["kind"] == "draw.run"][-1][None].double()


def check_card(page: Page, element: str, weight: Tensor, inputs: Tensor, bias: float, activation: str) -> None:
    """Hover over an element and compare its card with a sum.

    inputs: the inputs of the unit, in the order of its weights.
    """
    page.tab.hover(element)
    page.tab.wait_for_selector("#card:not([hidden])", timeout=WAIT)
    card = page.text("#card")
    products = weight.double().flatten() * inputs.double().flatten()
    expected = float(products.sum() + bias)
    written, count, output = terms_of(card)
    assert output == pytest.approx(expected, rel=6e-3, abs=1e-4)  # shown with three digits
    assert written == pytest.approx(
        expected, abs=0.06 * float(products.abs().max()) + 0.06 * abs(expected) + 0.06 * abs(bias)
    )
    assert count == int((products != 0).sum())
    assert f"{weight.numel()} incoming weights" in card
    assert activation in card
    assert page.tab.locator("#card canvas[data-picture]").count() >= 1


def test_the_card_of_a_neuron_shows_its_weights_and_its_sum(opened: Any) -> None:  # noqa: F811
    page = opened("model=mnist-mlp-100&sample=3.1")
    x = input_of(page)
    params = Model.load("mnist-mlp-100").trace(x.float(), torch.tensor([3])).params
    weight, bias = (params[f"features.dense1.{name}"][7] for name in ("weight", "bias"))
    check_card(page, '[data-k="h7"]', weight, x, float(bias), "Sigmoid(")
    page.tab.keyboard.press("Escape")
    assert page.tab.is_hidden("#card")
    page.tab.focus(".neuron.on")
    page.tab.keyboard.press("ArrowDown")
    page.tab.wait_for_selector("#card:not([hidden])", timeout=WAIT)  # opened by a key


@pytest.fixture(scope="module")
def unusual(tmp_path_factory: Any) -> Path:
    """A classifier with grouped convolutions, non-square kernels, stride, dilation, and padding of one axis."""
    network = Sequential(
        first=Conv2d(6, (3, 5), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
        relu1=ReLU(),
        second=Conv2d(8, (4, 3), groups=2, padding="same"),
        relu2=ReLU(),
        flatten=Flatten(),
        scores=Dense(10),
    )
    path = tmp_path_factory.mktemp("unusual") / "unusual.safetensors"
    model = Model(network, "softmax_cross_entropy")
    model.build((1, 28, 28))
    model.save(path)
    return path


@pytest.fixture
def page(unusual: Path, browser: Any) -> Iterator[Page]:  # noqa: F811
    with studio(str(unusual)) as started:
        context = browser.new_context()
        tab = context.new_page()
        tab.goto(started.address)
        tab.wait_for_selector("#read", timeout=WAIT)
        result = Page(browser, started, context.cookies(), "model=unusual&sample=3.1")
        yield result
        assert result.faults == []
        result.context.close()
        context.close()


@pytest.mark.heavy
def test_the_card_of_a_map_shows_the_patch_of_any_convolution(page: Page, unusual: Path) -> None:
    model = Model.load(unusual)
    trace = model.trace(input_of(page).float(), torch.tensor([0]))
    for name, groups, distances, sides in (("first", 1, (1, 2), (0, 0, 1, 1)), ("second", 2, (1, 1), (1, 1, 1, 2))):
        call = next(one for one in trace.calls if one.path == name)
        unit, weight = 5, call.params["weight"][5]
        padded = torch.nn.functional.pad(call.x, sides)
        y = call.y[0, unit]
        row, column = divmod(int(y.argmax()), y.shape[1])
        steps = (2, 1) if name == "first" else (1, 1)
        channels = call.x.shape[1] // groups
        start = channels * (unit // (len(call.params["weight"]) // groups))
        rows = [row * steps[0] + k * distances[0] for k in range(weight.shape[1])]
        columns = [column * steps[1] + k * distances[1] for k in range(weight.shape[2])]
        patch = padded[0, start : start + channels][:, rows][:, :, columns]
        bias = float(call.params["bias"][unit])
        assert float((patch * weight).sum() + bias) == pytest.approx(float(y.max()), rel=1e-5)
        check_card(page, f'[data-unit="{name}:5"]', weight, patch, bias, "ReLU(")
        assert f"at ({row}, {column})" in page.text("#card")
        page.tab.click(f'[data-unit="{name}:5"]')
        page.settle()
        totals = page.text(".arith .math").replace(MINUS, "-")
        assert float(totals.split("=")[-1]) == pytest.approx(float(y.max()), rel=6e-3)


@pytest.mark.heavy
def test_the_card_has_the_weights_after_a_step_and_after_its_undoing(opened: Any) -> None:  # noqa: F811
    page = opened("model=mnist-mlp-100&sample=3.1&label=5")
    tab, sums = page.tab, list[str]()

    def read_card() -> str:
        tab.mouse.move(5, 5)
        tab.hover('[data-k="o5"]')
        tab.wait_for_selector("#card:not([hidden])", timeout=WAIT)
        return page.text("#card")

    sums.append(read_card())
    for rate in ("-1", "0"):  # exponents of 10
        tab.click('[data-scope="all"]')
        tab.locator("#rate").fill(rate)
        tab.click('[data-k="go"]')
        tab.wait_for_selector("#undo:not([disabled])", timeout=WAIT)
        page.settle()
        if rate == "-1":
            sums.append(read_card())
            tab.click("#undo")
            tab.wait_for_selector("#undo[disabled]", timeout=WAIT)
            page.settle()
            sums.append(read_card())
    sums.append(read_card())  # as many steps as at the second reading, at another rate
    assert sums[0] == sums[2]
    assert len({sums[0], sums[1], sums[3]}) == 3


@pytest.mark.heavy
def test_inputs_of_three_dense_layers_are_highlighted_by_channel(tmp_path: Path, browser: Any) -> None:  # noqa: F811
    model = Model(mlp([784, 20, 12, 10]), "softmax_cross_entropy", input_shape=(1, 28, 28))
    file = tmp_path / "dense.safetensors"
    model.save(file)
    with studio(str(file)) as started:
        context = browser.new_context()
        tab = context.new_page()
        tab.goto(started.address)
        tab.wait_for_selector("#read", timeout=WAIT)
        first = next(path for path in model.weights if path.endswith(".weight"))
        page = Page(browser, started, context.cookies(), f"model={file}&sample=3.1&what={first}[2, 400]")
        tab = page.tab
        tab.locator(".fac").last.click()  # the factor of the pixel
        assert tab.evaluate(HIGHLIGHTED) == ["input"]
        assert page.faults == []
        page.context.close()
        context.close()


@pytest.mark.parametrize("sample", [None, "7.3"])
def test_a_drawing_is_explained_as_it_was_read(sample: str | None, opened: Any) -> None:  # noqa: F811
    page = opened("model=mnist-lenet" + (f"&sample={sample}" if sample else ""))
    if sample is None:
        page.tab.click("#clear")
        page.draw([(0.3, 0.2), (0.7, 0.25), (0.5, 0.5), (0.4, 0.8)])
    answers = [answer for answer, _ in map(parsed, page.frames) if answer["kind"] == "draw.run"]
    expected = answers[-1]["probabilities"]
    page.tab.click("#to-explain")
    page.tab.wait_for_selector(".chip[data-of]", timeout=WAIT)
    aim = [answer for answer, _ in map(parsed, page.frames) if answer["kind"] == "explain.aim"][-1]
    assert aim["probabilities"] == pytest.approx(expected, abs=1e-5)
    assert "upload=u" in page.tab.url
