"""The view Draw in a browser: use by mouse, touch and keyboard, and the numbers that the page shows."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from pellucid.model import Model
from tests.report.test_browser import FIND_FAULTS, browser  # noqa: F401  (a fixture)
from tests.studio.talk import parsed
from tests.studio.test_command import Started, studio

pytestmark = pytest.mark.real
THREE = [(0.3, 0.22), (0.5, 0.15), (0.68, 0.28), (0.5, 0.47), (0.7, 0.65), (0.52, 0.85), (0.28, 0.76)]
MINUS = "\u2212"  # as the page writes it
MIDDLE_OF_AN_EDGE = """(() => {
  const edge = document.querySelector(".edge .hit");
  edge.scrollIntoView({ block: "center" });
  const at = edge.getPointAtLength(edge.getTotalLength() / 2).matrixTransform(edge.getScreenCTM());
  return [at.x, at.y];
})()"""
SOCKETS = """const Socket = WebSocket; window.sockets = [];
window.WebSocket = class extends Socket { constructor(...a) { super(...a); sockets.push(this); } };"""
WAIT = 60_000  # milliseconds; machines that run other tests at the same time are slow


@pytest.fixture(scope="module")
def served() -> Iterator[Started]:
    with studio() as started:
        yield started


@pytest.fixture(scope="module")
def cookies(served: Started, browser: Any) -> list[Any]:  # noqa: F811
    context = browser.new_context()
    page = context.new_page()
    page.goto(served.address)
    page.wait_for_selector("#views a[aria-current]", timeout=WAIT)
    assert "token" not in page.url
    result = context.cookies()
    context.close()
    return result


def until(tab: Any, condition: str, wait: int = WAIT) -> None:
    """Wait until a JavaScript condition is true; the page's policy forbids Playwright's function for this."""
    end = time.monotonic() + wait / 1000
    while not tab.evaluate(condition):
        assert time.monotonic() < end, f"{condition}: {tab.evaluate('document.body.innerText')[:2000]}"
        time.sleep(0.02)


class Page:
    """A tab of the studio with its errors and warnings (`faults`) and received messages (`frames`)."""

    def __init__(self, browser: Any, served: Started, cookies: list[Any], state: str = "", **options: Any) -> None:  # noqa: F811
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.context.add_cookies(cookies)
        self.tab, self.faults, self.served = self.context.new_page(), list[str](), served
        self.tab.on("console", lambda one: self.faults.append(one.text) if one.type in ("error", "warning") else None)
        self.tab.on("pageerror", lambda error: self.faults.append(str(error)))
        self.frames: list[bytes] = []
        self.tab.on("websocket", lambda socket: socket.on("framereceived", self.take))
        self.tab.goto(f"http://{served.host}/#draw?{state}")
        self.tab.wait_for_selector("#read", timeout=WAIT)
        self.settle()

    def take(self, frame: bytes) -> None:
        self.frames.append(frame)

    def settle(self) -> None:
        """Wait until the page shows the last of its updates: the finite difference, or without a label the question."""
        until(self.tab, "document.querySelector('.check')?.dataset.numeric || document.querySelector('[data-label]')")
        self.tab.wait_for_timeout(250)

    def text(self, selector: str) -> str:
        return self.tab.inner_text(selector)

    def draw(self, points: list[tuple[float, float]], label: str | None = None) -> None:
        """Draw a stroke; label: what is chosen as its label before the page is complete, None for none."""
        box = self.tab.locator("#pad").bounding_box()
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.tab.mouse.move(*places[0])
        self.tab.mouse.down()
        for place in places[1:]:
            self.tab.mouse.move(*place, steps=6)
        self.tab.mouse.up()
        self.tab.wait_for_timeout(600)
        if label is not None:
            self.tab.select_option("#label", label)
            self.settle()

    @property
    def gradient(self) -> float:
        return float(self.tab.get_attribute("[data-gradient]", "data-gradient"))

    @property
    def cost(self) -> str:
        return self.text("#cost-value")


@pytest.fixture
def opened(browser: Any, served: Started, cookies: list[Any]) -> Iterator[Any]:  # noqa: F811
    pages: list[Page] = []

    def new(state: str = "", **options: Any) -> Page:
        pages.append(Page(browser, served, cookies, state, **options))
        return pages[-1]

    yield new
    for page in pages:
        page.context.close()
        assert page.faults == []


@pytest.mark.heavy
@pytest.mark.parametrize("model", ["mnist-mlp-100", "mnist-lenet"])
def test_a_three_drawn_by_mouse_is_predicted_as_three(model: str, opened: Any) -> None:
    page = opened(f"model={model}")
    page.tab.click("#clear")
    assert page.tab.locator("#read").count() == 0
    page.draw(THREE)
    until(page.tab, "document.querySelector('#read')")
    assert page.tab.locator("#cost-value").count() == 0
    assert page.tab.input_value("#label") == ""
    assert page.text("#read") == "3"
    latency = float(page.tab.get_attribute("#seen-cap", "data-latency"))
    assert latency < 1000, latency


@pytest.mark.parametrize(
    ("model", "what"),
    [("mnist-mlp-100", "features.dense1.weight[32, 400]"), ("mnist-lenet", "features.conv2.weight[3, 2, 1, 4]")],
)
def test_a_clicked_weight_shows_the_derivative_of_python(model: str, what: str, opened: Any) -> None:
    page = opened(f"model={model}&sample=3.1&what={what}&label=5")
    subjects = [what]
    if model == "mnist-mlp-100":
        page.tab.mouse.click(*page.tab.evaluate(MIDDLE_OF_AN_EDGE))
    else:
        page.tab.click(".numbers button >> nth=7")
    page.settle()
    subjects.append(page.tab.evaluate("new URLSearchParams(location.hash.split('?')[1]).get('what')"))
    shown = [parsed(frame) for frame in page.frames]
    x = [tensors["x"] for header, tensors in shown if header["kind"] == "draw.run"][-1]
    trace = Model.load(model).trace(x[None], torch.tensor([5]))
    answers = {header["name"]: header["gradient"] for header, _ in shown if header["kind"] == "draw.explain"}
    expected = [trace.explain(subject).gradient for subject in subjects]
    assert [answers[subject] for subject in subjects] == expected
    assert len(set(subjects)) == 2
    assert page.gradient == expected[1]
    numeric = float(page.tab.get_attribute(".check", "data-numeric"))
    assert page.gradient == pytest.approx(numeric, rel=1e-3, abs=1e-7)


def test_each_factor_can_be_chosen_and_they_multiply_to_the_derivative(opened: Any) -> None:
    page = opened("model=mnist-mlp-100&sample=3.1&label=5&what=features.dense1.weight[32, 350]")
    factors = page.tab.locator(".fac")
    assert factors.count() == 3  # output gradient, slope, pixel
    values, details = [], set()
    for k in range(3):
        factors.nth(k).click()
        values.append(float(factors.nth(k).locator("b").inner_text().replace(MINUS, "-")))
        details.add(page.text("[data-detail]"))
        assert page.tab.locator(".fac[aria-pressed=true]").count() == 1
    assert len(details) == 3
    assert values[0] * values[1] * values[2] == pytest.approx(page.gradient, rel=0.02)
    factors.nth(0).click()
    assert page.tab.locator(".terms tbody tr").count() == 10  # one for each output
    assert page.tab.locator(".neuron.lit").count() == 11
    page.tab.click(".terms [data-what] >> nth=0")
    page.settle()
    assert "head.scores.y" in page.text("#subject")
    page.tab.click("#back")
    page.settle()
    assert "hidden 32" in page.text("#subject")


@pytest.mark.heavy
def test_a_neuron_shows_its_weights_and_the_passes_step(opened: Any) -> None:
    page = opened("model=mnist-mlp-100&sample=3.1")
    page.tab.click('[data-k="h7"]')
    page.settle()
    assert "hidden 7" in page.text("#field")
    assert "→ hidden 7" in page.text("#subject")
    step_texts = set()
    for number in range(1, 8):
        page.tab.click(f'[data-pass="{number}"]')
        step_texts.add(page.text("#stepper p"))
    assert len(step_texts) == 7
    page.tab.click('[data-model="mnist-lenet"]')
    page.tab.wait_for_selector("[data-unit]", timeout=WAIT)
    page.settle()
    page.tab.click('[data-unit="features.conv2:5"]')
    page.settle()
    assert page.tab.locator("[data-channel]").count() == 6
    page.tab.focus('[data-cells="head.dense1"]')
    page.tab.keyboard.press("ArrowRight")
    page.settle()
    assert "head.dense1 neuron 0" in page.text(".unit h3")
    assert page.tab.locator(".strongest button").count() > 0


@pytest.mark.parametrize("scope", ["one", "all"])
def test_a_step_lowers_the_cost_and_undo_returns(scope: str, opened: Any) -> None:
    page = opened("model=mnist-mlp-100&sample=3.1&label=5")
    before = page.cost
    page.tab.click(f'[data-scope="{scope}"]')
    page.tab.click('[data-k="go"]')
    until(page.tab, f"document.querySelector('#cost-value').textContent !== '{before}'")
    page.settle()
    costs = page.text(".costs")
    assert all(word in costs for word in ("Cost before", "after", "the slope said", "it got"))
    assert float(page.cost.replace(MINUS, "-")) < float(before)
    page.tab.click("#undo")
    until(page.tab, f"document.querySelector('#cost-value').textContent === '{before}'")
    assert page.tab.is_disabled("#undo")


def press_until(tab: Any, condition: str) -> None:
    """Press Tab until the focus is on an element that matches a CSS selector."""
    for _ in range(120):
        tab.keyboard.press("Tab")
        if tab.evaluate("(condition) => document.activeElement?.matches(condition)", condition):
            return
    raise AssertionError(f"no Tab leads to {condition}")


def test_the_draw_view_can_be_used_by_keyboard(opened: Any) -> None:
    page = opened("model=mnist-mlp-100&sample=0.0")
    keys = page.tab.keyboard
    press_until(page.tab, "#pad")
    keys.press("3")
    until(page.tab, "document.querySelector('#read').textContent === '3'")
    page.settle()
    press_until(page.tab, ".neuron")
    keys.press("ArrowDown")
    page.settle()
    assert page.tab.evaluate("document.activeElement.classList.contains('neuron')")
    keys.press("]")
    page.settle()
    press_until(page.tab, "[data-pass]")
    keys.press("ArrowRight")
    assert page.tab.get_attribute("[data-pass='5']", "aria-checked") == "true"
    press_until(page.tab, ".fac")
    keys.press("Enter")
    press_until(page.tab, "[data-k=go]")
    keys.press("Enter")
    page.tab.wait_for_selector("#undo:not([disabled])", timeout=WAIT)
    page.settle()
    press_until(page.tab, "#undo")
    keys.press("Enter")
    page.tab.wait_for_selector("#undo[disabled]", timeout=WAIT)


def test_drawing_by_touch_and_by_arrow_keys(opened: Any) -> None:
    page = opened("model=mnist-mlp-100", has_touch=True, viewport={"width": 390, "height": 844})
    page.tab.click("#clear")
    page.tab.focus("#pad")
    for _ in range(15):
        page.tab.keyboard.press("Shift+ArrowDown")
    until(page.tab, "document.querySelector('#read')?.textContent === '1'")  # the last of 15 readings
    until(page.tab, "document.querySelector('#near b')?.textContent === '1'")
    box = page.tab.locator("#pad").bounding_box()
    page.tab.touchscreen.tap(box["x"] + 30, box["y"] + 30)
    page.tab.select_option("#label", "1")
    page.settle()


@pytest.mark.heavy
def test_two_tabs_do_not_share_weights(opened: Any) -> None:
    one, two = (opened("model=mnist-mlp-100&sample=3.1&label=5") for _ in range(2))
    before = two.cost
    assert one.cost == before
    one.tab.click('[data-scope="all"]')
    one.tab.click('[data-k="go"]')
    one.tab.wait_for_selector("#undo:not([disabled])", timeout=WAIT)
    two.tab.click('[data-pass="5"]')
    two.tab.select_option("#label", "4")
    two.settle()
    two.tab.select_option("#label", "5")
    two.settle()
    assert two.cost == before
    assert one.cost != before


@pytest.mark.heavy
def test_the_address_restores_the_view(opened: Any) -> None:
    one = opened("model=mnist-lenet&sample=3.1&label=5&pass=10&what=features.conv1.weight[3, 0, 1, 2]")
    assert one.tab.get_attribute("[data-pass='10']", "aria-checked") == "true"
    two = opened(one.tab.url.split("?")[1])
    assert two.gradient == one.gradient
    assert two.text("#subject") == one.text("#subject")
    three = opened("model=mnist-mlp-100&what=features.conv1.weight[3, 0, 1, 2]")
    three.tab.click('[data-take="3"]')
    three.settle()
    assert three.text("#read") == "3"


@pytest.mark.heavy
def test_a_dropped_connection_recovers(browser: Any) -> None:  # noqa: F811
    with studio("mnist-lenet") as first:
        context = browser.new_context()
        tab = context.new_page()
        faults: list[str] = []
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.add_init_script(SOCKETS)
        tab.goto(first.address)
        tab.wait_for_selector("#read", timeout=WAIT)
        until(tab, "document.querySelector('.check')?.dataset.numeric")
        before = tab.inner_text("#cost-value")
        tab.evaluate("sockets.at(-1).close()")
        until(tab, "sockets.length > 1 && sockets.at(-1).readyState === 1")
        until(tab, "document.querySelector('#live').textContent.includes('Connected again')")
        assert tab.inner_text("#cost-value") == before
        assert tab.is_hidden("#link")
        tab.click('[data-take="6"]')
        until(tab, "document.querySelector('#read').textContent === '6'")
        assert faults == []
        os.kill(first.process.pid, signal.SIGINT)
        assert first.process.wait(20) in {0, 130}
        tab.wait_for_selector("#link:not([hidden])", timeout=WAIT)
        context.close()


SMALL = """() => [...document.querySelectorAll('button, select, input')]
    .filter(one => one.checkVisibility()).map(one => [one.getBoundingClientRect(), one.outerHTML.slice(0, 80)])
    .filter(([box]) => box.height < 22 || box.width < 22).map(([, text]) => text)"""


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("model", ["mnist-mlp-100", "mnist-lenet"])
def test_the_page_fits_its_screen(colours: str, model: str, opened: Any) -> None:
    page = opened(f"model={model}&sample=3.1&label=5", color_scheme=colours)
    for width in (390, 800, 1280, 1920):
        page.tab.set_viewport_size({"width": width, "height": 900})
        page.tab.wait_for_timeout(100)
        assert page.tab.evaluate(FIND_FAULTS) == [], width
        assert page.tab.evaluate(SMALL) == [], width


@pytest.mark.heavy
@pytest.mark.parametrize("model", ["mnist-mlp-100", "mnist-lenet"])
def test_noise_shows_its_confidence_and_is_misclassified(model: str, opened: Any) -> None:
    page = opened(f"model={model}")
    tab = page.tab
    until(tab, "document.querySelector('[data-nonsense=scribble] b')")
    seen = []
    for what in ("noise", "noise", "stripes", "scribble"):
        tab.click(f'[data-nonsense="{what}"]')
        tab.wait_for_timeout(600)
        read, confidence = page.text(f'[data-nonsense="{what}"] span').split(maxsplit=1)
        until(tab, f"document.querySelector('#read').textContent === '{read}'")
        shown = page.text("#cost")
        sure = float(confidence.split()[0]) >= 60
        assert shown.startswith(f"Reads {read} at {confidence}" if sure else f"Unsure: {read} or ")
        assert confidence in shown
        assert tab.get_attribute(f'[data-nonsense="{what}"]', "aria-pressed") == "true"
        seen.append(tab.url.split("sample=")[1].split("&")[0])
    assert seen == ["noise.0", "noise.1", "stripes.0", "scribble.0"]
    again = opened(tab.url.split("?")[1])
    assert again.text("#cost") == page.text("#cost")


@pytest.mark.heavy
def test_a_sample_of_the_class_is_shown_next_to_the_drawing(opened: Any) -> None:
    page = opened()
    page.tab.click("#clear")
    page.draw(THREE, label="3")
    same = "(a, b) => document.querySelector(a).toDataURL() === document.querySelector(b).toDataURL()"
    assert page.tab.get_attribute("#beside", "aria-label") == "A sample of 3"
    assert page.tab.evaluate(f"({same})('#beside', '[data-sample=\"3\"]')")
    assert not page.tab.evaluate(f"({same})('#beside', '#seen')")
