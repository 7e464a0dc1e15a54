"""The view Explain in a browser: an upload and its sum, a detector's box, the crosshair, keys, and screen sizes."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.report.test_browser import FIND_FAULTS, browser  # noqa: F401  (a fixture)
from tests.studio.talk import parsed
from tests.studio.test_browser import MINUS, WAIT, until
from tests.studio.test_command import Started, studio
from tests.studio.test_uploads import encoded

pytestmark = pytest.mark.real
MAPS = "document.querySelectorAll('.sum').length"


@pytest.fixture(scope="module")
def served() -> Iterator[Started]:
    with studio("bccd") as started:
        yield started


@pytest.fixture(scope="module")
def cookies(served: Started, browser: Any) -> Any:  # noqa: F811
    context = browser.new_context()
    page = context.new_page()
    page.goto(served.address)
    page.wait_for_selector("#explain-figures figure", timeout=WAIT)  # a detector opens at Explain
    result = context.cookies()
    context.close()
    return result


class Page:
    """A tab at the view Explain with its errors and warnings (`faults`) and received answers (`frames`)."""

    def __init__(self, browser: Any, host: str, cookies: Any, state: str, **options: Any) -> None:  # noqa: F811
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.context.add_cookies(cookies)
        self.tab, self.faults, self.frames = self.context.new_page(), list[str](), list[bytes]()
        self.tab.on("console", lambda one: self.faults.append(one.text) if one.type in ("error", "warning") else None)
        self.tab.on("pageerror", lambda error: self.faults.append(str(error)))
        self.tab.on("websocket", lambda socket: socket.on("framereceived", self.take))
        self.tab.goto(f"http://{host}/#explain?{state}")
        self.settle()

    def take(self, frame: bytes) -> None:
        self.frames.append(frame)

    def settle(self) -> None:
        """Wait until every figure is complete, and every map has its deletion curve.

        The hundreds of occluded squares of a detector take a minute while other tests run.
        """
        until(self.tab, "document.querySelectorAll('#explain-figures .sum').length")
        done = "!document.querySelector('#explain-figures').innerText.match(/computing|squares/)"
        until(self.tab, done, wait=4 * WAIT)
        self.tab.wait_for_timeout(300)

    def last(self, kind: str, **fields: Any) -> Any:
        """Return the last answer of a kind with these values of fields."""
        answers = [header for header, _ in map(parsed, self.frames) if header["kind"] == kind]
        return [answer for answer in answers if fields.items() <= answer.items()][-1]

    def text(self, selector: str) -> str:
        return self.tab.inner_text(selector)


@pytest.fixture
def opened(browser: Any, served: Started, cookies: Any) -> Iterator[Any]:  # noqa: F811
    pages: list[Page] = []

    def new(state: str = "", **options: Any) -> Page:
        pages.append(Page(browser, served.host, cookies, state, **options))
        return pages[-1]

    yield new
    for page in pages:
        page.context.close()
        assert page.faults == []


def number(text: str) -> float:
    return float(text.replace(MINUS, "-"))


@pytest.mark.heavy
def test_an_upload_is_explained_and_its_sum_can_be_read(opened: Any) -> None:
    page = opened("model=mnist-lenet")
    page.tab.set_input_files("#explain-file", {"name": "one.png", "mimeType": "image/png", "buffer": encoded()})
    until(page.tab, "document.querySelector('#explain-h').textContent === 'Why 1?'")
    page.settle()
    assert "upload=u" in page.tab.url
    for method in ("integrated_gradients", "lrp"):
        figure = f"[data-figure={method}] .sum"
        answer = page.last("explain.run", method=method)
        texts = page.tab.locator(f"{figure} b").all_inner_texts()[:2]
        assert [*map(number, texts)] == pytest.approx([answer["sum"], answer["expected"]], rel=0.01)
        within = f"{100 * abs(answer['sum'] / answer['expected'] - 1):.1f} %"
        assert ("adds up" in page.text(figure)) is answer["verdict"]["passed"]
        assert (f"adds up within {within}" in page.text(figure)) is (
            answer["verdict"]["passed"] and texts[0] != texts[1]
        )
    assert answer["expected"] == pytest.approx(page.last("explain.aim")["score"])
    page.tab.reload()
    page.settle()
    assert page.text("#explain-h") == "Why 1?"
    page.tab.evaluate("""() => { const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([new Uint8Array([1, 2, 3])], 'x.png', {type: 'image/png'}));
        const drop = new DragEvent('drop', {dataTransfer, bubbles: true});
        document.querySelector('#explain-figures').dispatchEvent(drop); }""")
    until(page.tab, "document.querySelector('#explain-problem').textContent.includes('PNG')")
    page.faults.clear()  # the browser itself reports the status 415


@pytest.mark.heavy
def test_a_click_on_a_box_explains_it(opened: Any) -> None:
    page = opened("model=bccd&methods=gradcam.lrp")
    boxes = page.tab.locator("[data-figure=picture] rect.box")
    count = boxes.count()
    assert count > 3
    assert page.text("#explain-h").endswith("of box 1?")
    box = boxes.nth(3).bounding_box()
    page.tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    until(page.tab, "document.querySelector('#explain-h').textContent.endsWith('of box 4?')")
    page.settle()
    assert page.tab.locator("[data-figure=picture] rect.box.on").count() == 1
    answer = page.last("explain.run", method="lrp")
    assert answer["expected"] == pytest.approx(page.last("explain.aim")["score"], rel=1e-5)
    until(page.tab, "document.querySelectorAll('#explain-relevance tbody tr').length > 3")
    page.tab.click('[data-of="WBC"]')
    until(page.tab, "document.querySelector('#explain-h').textContent === 'Why WBC of box 4?'")
    page.tab.click("[data-place] >> nth=1")
    until(page.tab, "document.querySelector('#explain-h').textContent.endsWith('of box 2?')")


@pytest.mark.heavy
def test_maps_share_a_crosshair_and_a_scale_and_show_the_occluded_square(opened: Any) -> None:
    page = opened("model=mnist-lenet&sample=digit 3")
    shot = page.tab.locator("[data-shot=lrp]")
    box = shot.bounding_box()
    page.tab.mouse.move(box["x"] + box["width"] * 10.5 / 28, box["y"] + box["height"] * 7.5 / 28)
    assert "Row 7, column 10" in page.text("#explain-readout")
    crosses = page.tab.evaluate("""[...document.querySelectorAll('.shot')].map((one) => {
        const a = one.getBoundingClientRect(), b = one.querySelector('.cross').getBoundingClientRect();
        return [(b.x + b.width / 2 - a.x) / a.width, (b.y + b.height / 2 - a.y) / a.height]; })""")
    assert all(cross == pytest.approx([10.5 / 28, 7.5 / 28], abs=0.01) for cross in crosses)
    assert len(crosses) == 7
    shot.focus()
    page.tab.keyboard.press("ArrowDown")
    assert "Row 8, column 10" in page.text("#explain-readout")
    assert "Square there: score" in page.text("#explain-readout")
    page.tab.locator("#explain-blend").fill("0.25")
    assert page.tab.evaluate("document.querySelector('.over').style.opacity") == "0.25"
    before = page.tab.locator(".figures .scale i:last-child").all_inner_texts()
    page.tab.check("#explain-shared")
    after = page.tab.locator(".figures .scale i:last-child").all_inner_texts()
    assert len(set(before)) > 1
    assert len(set(after)) == 1
    page.tab.click('[data-map="5"]')
    until(page.tab, "document.querySelectorAll('[data-deconvolution]').length === 9")
    assert page.tab.locator("#explain-top h3").inner_text().startswith("Map 5 of features.relu2")
    page.tab.click('[data-k="unit"]')
    until(page.tab, "document.querySelector('#explain-h').textContent === 'Why features.relu2[5]?'")
    page.settle()
    page.tab.click('[data-of="8"]')
    page.settle()
    other = opened(page.tab.url.split("?")[1])
    assert other.text("#explain-h") == "Why 8?"
    assert other.tab.is_checked("#explain-shared")


@pytest.mark.heavy
def test_a_drawing_is_explained_by_keys_alone(opened: Any) -> None:
    page = opened("model=mnist-lenet&methods=lrp")
    page.tab.focus("#explain-draw")
    page.tab.keyboard.press("Enter")
    page.tab.focus("#explain-pad")
    for _ in range(15):
        page.tab.keyboard.press("Shift+ArrowDown")
    page.tab.focus("#explain-use")
    page.tab.keyboard.press("Enter")
    until(page.tab, "document.querySelector('#explain-read').textContent.includes('Reads 1')")
    page.settle()
    page.tab.focus("[data-of='1']")
    page.tab.keyboard.press("ArrowRight")
    until(page.tab, "document.querySelector('#explain-h').textContent === 'Why 2?'")


@pytest.mark.parametrize(("model", "colours"), [("mnist-lenet", "light"), ("mnist-mlp-100", "dark")])
def test_the_page_fits_its_screen(model: str, colours: str, opened: Any) -> None:
    page = opened(f"model={model}&sample=digit 3", color_scheme=colours)
    for width in (390, 1280):
        page.tab.set_viewport_size({"width": width, "height": 900})
        page.tab.wait_for_timeout(100)
        assert page.tab.evaluate(FIND_FAULTS) == [], width
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.heavy
def test_a_model_that_cannot_be_opened_is_named_while_another_is_shown(
    served: Started,
    cookies: Any,
    browser: Any,  # noqa: F811
) -> None:
    page = Page(browser, served.host, cookies, "model=nowhere")
    assert "no model 'nowhere'" in page.tab.inner_text("#explain-problem")
    assert page.tab.input_value("#explain-model") == "bccd"
    page.context.close()
