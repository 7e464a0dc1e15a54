"""The view Look in a browser with a fake camera: each control is changed, and its effect on the picture is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pellucid.data.catalogue import data_root
from pellucid.model import Model
from tests.cases import mostly_heavy
from tests.report.test_browser import CHROMIUM, FIND_FAULTS
from tests.studio.accessibility import serious_faults
from tests.studio.collected import write_camera
from tests.studio.talk import parsed
from tests.studio.test_browser import WAIT, until
from tests.studio.test_command import Started, studio
from tests.studio.test_look import iou, layer, real_picture

pytestmark = pytest.mark.real
DRAW_MARKS = """async () => {
  const { draw } = await import('/look/layers.js'), picture = { shape: [3, 64, 64], data: new Uint8Array(3 * 64 * 64) };
  const given = { picture, isOn: () => true, why: null, opacity: 1, place: null, classes: [''] };
  return [{ scores: { data: [0.5] } }, {}].map((scores) => {
    const canvas = document.createElement('canvas'), box = { shape: [1, 4], data: [8, 8, 56, 56] };
    const tensors = { boxes: box, labels: { data: [0] }, ...scores };
    const layers = [{ name: '', kind: 'boxes', on: true, mark: true, tensors }];
    draw(canvas, { ...given, layers, hidden: new Set(), hints: [], maps: new Map() });
    return canvas.toDataURL();
  });
}"""  # a false and a missed object at the same place, without their names
COUNT = "document.querySelectorAll('[data-box]').length"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of a model, and a broken one."""
    path = tmp_path_factory.mktemp("runs")
    Model.load("mnist-lenet").save(path / "mine.safetensors")
    (path / "broken.onnx").write_bytes(b"nonsense")
    return path


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two annotated pictures of others."""
    root = data_root() / "bccd"
    path = tmp_path_factory.mktemp("own") / "cells"
    for part, end in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        (path / part).mkdir(parents=True)
        for file in sorted((root / part).glob(f"*.{end}"))[:2]:
            (path / part / file.name).write_bytes(file.read_bytes())
    return path


@pytest.fixture(scope="module")
def served(folder: Path, labelled: Path) -> Iterator[Started]:
    with studio(str(folder), "--data", str(labelled)) as started:
        yield started


@pytest.fixture(scope="module")
def chromium(served: Started, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser with a camera, and the cookies of the studio."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    film = tmp_path_factory.mktemp("camera") / "shapes.y4m"
    write_camera(film, ("circle", "square"))
    options = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with playwright.sync_playwright() as playwright_api:
        browser = playwright_api.chromium.launch(
            executable_path=CHROMIUM, args=[*options, f"--use-file-for-fake-video-capture={film}"]
        )
        context = browser.new_context()
        page = context.new_page()
        page.goto(served.address)
        page.wait_for_selector("#views a[aria-current]", timeout=WAIT)
        yield browser, context.cookies()
        browser.close()


class LookPage:
    """A tab at the view Look with the received answers."""

    def __init__(self, context: Any, host: str, state: str) -> None:
        self.tab = context.new_page()
        self.faults: list[str] = []
        self.answers: list[Any] = []
        self.tab.on("console", lambda one: self.faults.append(one.text) if one.type in ("error", "warning") else None)
        self.tab.on("pageerror", lambda error: self.faults.append(str(error)))
        self.tab.on("websocket", lambda socket: socket.on("framereceived", self.take))
        self.tab.goto(f"http://{host}/#look?{state}")
        until(self.tab, "document.querySelector('#look-line')?.textContent")

    def take(self, frame: bytes) -> None:
        header, tensors = parsed(frame)
        self.answers.append({**header, "tensors": tensors})

    def last(self, kind: str) -> Any:
        return next(answer for answer in reversed(self.answers) if answer["kind"] == kind)

    def pixels(self) -> str:
        return self.tab.evaluate("document.querySelector('#look-canvas').toDataURL()")

    def slide(self, control: int, value: float) -> None:
        """Move a slider, and wait until its effect is shown."""
        number = len([one for one in self.answers if one["kind"] == "look.change"])
        self.tab.locator(f"[data-control='{control}']").fill(str(value))
        end = f"document.querySelector('#look-time').dataset.values?.split(',')[{control}] === '{value}'"
        until(self.tab, end)
        assert len([one for one in self.answers if one["kind"] == "look.change"]) > number

    def click(self, x: float, y: float) -> None:
        """Click a pixel of the picture, given as parts of its width and height."""
        canvas = self.tab.locator("#look-canvas")
        box = canvas.bounding_box()
        width, height = canvas.evaluate("(one) => [one.width, one.height]")
        scale = min(box["width"] / width, box["height"] / height)  # it keeps its proportions inside its box
        left, top = (box["width"] - width * scale) / 2, (box["height"] - height * scale) / 2
        canvas.click(position={"x": left + x * width * scale, "y": top + y * height * scale})


@pytest.fixture
def page(served: Started, chromium: Any) -> Iterator[Any]:
    browser, cookies = chromium
    contexts: list[Any] = []
    pages: list[LookPage] = []

    def new(state: str, width: int = 1440, scheme: str = "light") -> LookPage:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        context.add_cookies(cookies)
        contexts.append(context)
        pages.append(LookPage(context, served.host, state))
        return pages[-1]

    yield new
    for context in contexts:
        context.close()
    assert [fault for one in pages for fault in one.faults] == []


@pytest.mark.heavy
def test_sliders_layers_and_boxes_of_a_detector(page: Any) -> None:
    file, picture = real_picture("bccd/JPEGImages")
    shown = page("model=bccd")
    tab = shown.tab
    tab.set_input_files("#look-file", file)
    until(tab, "document.querySelector('#look-sample').value === 'u1'")
    (expected,) = Model.load("bccd").predict(file)
    line = expected.line.partition(": ")[2]
    until(tab, f"document.querySelector('#look-line').textContent === '{line}'")
    names = [text.split("\n")[0].split()[1] for text in tab.locator("[data-box]").all_inner_texts()]
    assert names == [*expected.labels]
    counts = {}
    for score in (0.3, 0.7):
        shown.slide(0, score)
        counts[score] = tab.evaluate(COUNT)
        scores = layer(shown.last("look.change"), "boxes", "scores")
        assert counts[score] == len(scores) == int((scores >= score).sum())
    assert counts[0.3] > counts[0.7]
    shown.slide(0, 1)
    best = int(100 * float(expected.scores.max())) / 100
    assert tab.inner_text("#look-line") == f"no objects (the best scores {best:.2f})"
    shown.slide(0, 0.3)
    for limit in (0.9, 0.1):
        shown.slide(1, limit)
        counts[limit] = tab.evaluate(COUNT)
        answer = shown.last("look.change")
        boxes, labels = layer(answer, "boxes", "boxes").numpy(), layer(answer, "boxes", "labels").tolist()
        pairs = [(i, j) for i in range(len(boxes)) for j in range(i) if labels[i] == labels[j]]
        assert all(iou(boxes[i], boxes[j]) <= limit + 1e-3 for i, j in pairs)
    assert counts[0.9] > counts[0.1]
    before = shown.pixels()
    dashes, meanings = set(), set()
    for name in ("anchors of the boxes", "before suppression", "removed by suppression"):
        tab.check(f"[data-layer='{name}']")
        assert shown.pixels() != before, name
        switch = tab.locator("label", has=tab.locator(f"[data-layer='{name}']"))
        dashes.add(switch.locator("path").get_attribute("stroke-dasharray"))
        meanings.add(switch.locator("small").inner_text())
        tab.uncheck(f"[data-layer='{name}']")
        assert shown.pixels() == before
    assert (len(dashes), len(meanings)) == (3, 3)
    tab.uncheck("[data-layer='boxes']")
    assert shown.pixels() != before
    assert tab.evaluate(COUNT) == 0
    tab.check("[data-layer='boxes']")
    for group in ("Features", "Scores of cells"):
        options = tab.locator(f"[data-group='{group}'] option").all_inner_texts()
        tab.select_option(f"[data-group='{group}']", options[1])
        until(tab, f"document.querySelector('#look-canvas').toDataURL() !== {before!r}")
        with_map = shown.pixels()
        tab.locator("#look-opacity").fill("0.1")
        assert shown.pixels() != with_map
        tab.locator("#look-opacity").fill("0.6")
        tab.select_option(f"[data-group='{group}']", "")
        until(tab, f"document.querySelector('#look-canvas').toDataURL() === {before!r}")
    # why this box, this class, not that one
    tab.click("[data-box='0']")
    tab.wait_for_selector("[data-why]", timeout=WAIT)
    why = shown.last("look.why")
    assert f"Why {why['label']}" in tab.inner_text("[data-why]")
    assert shown.pixels() != before
    other = next(name for name in ("RBC", "WBC", "Platelets") if name != names[0])
    tab.click(f"#look-why [data-of='{other}']")
    until(tab, f"document.querySelector('[data-why]').textContent.includes('{other} of box 1')")
    tab.select_option("#look-against", names[0])
    until(tab, f"document.querySelector('[data-why]').textContent.includes('not {names[0]}')")
    tab.select_option("#look-method", "saliency")
    until(tab, "document.querySelector('[data-why]').textContent.includes('Blue speaks')")
    x0, y0, x1, y1 = layer(shown.last("look.change"), "boxes", "boxes")[1].tolist()
    _, height, width = picture.shape
    shown.click((x0 + x1) / 2 / width, (y0 + y1) / 2 / height)
    until(tab, "!document.querySelector('[data-why]').textContent.includes('box 1')")
    tab.click("[data-hide]")
    assert shown.pixels() == before
    assert serious_faults(tab) == []


def test_false_and_missed_ones_on_labelled_pictures(page: Any, labelled: Path) -> None:
    shown = page("model=bccd")
    tab = shown.tab
    tab.select_option("#look-data", str(labelled))
    tab.click("#look-judge")
    until(tab, "document.querySelector('#look-judged').textContent.startsWith('Precision')", wait=2 * WAIT)
    found = [row["counts"] for one in shown.answers if one["kind"] == "look.judge" for row in one["rows"]]
    counts = [sum(numbers) for numbers in zip(*found, strict=True)]
    assert f"{counts[0]} right, {counts[1]} false, {counts[2]} missed in 2 pictures" in tab.inner_text("#look-judged")
    point = float(tab.get_attribute("#look-curve circle", "cx"))
    assert point == pytest.approx(100 * counts[0] / (counts[0] + counts[2]))
    shown.slide(0, 0.8)
    until(tab, f"Number(document.querySelector('#look-curve circle').getAttribute('cx')) < {point}")
    tab.click("[data-labelled]")
    tab.wait_for_selector("[data-layer=missed]", timeout=WAIT)
    before = shown.pixels()
    tab.uncheck("[data-layer=missed]")
    assert shown.pixels() != before
    false, missed = tab.evaluate(DRAW_MARKS)
    assert false != missed


def test_times_of_the_sliders_and_of_a_picture_are_shown(page: Any) -> None:
    shown = page("model=bccd")  # the sliders need no pass of the network
    seen = len([one for one in shown.answers if one["kind"] == "look.picture"])
    for value in (0.2, 0.4, 0.6):
        shown.slide(0, value)
    assert len([one for one in shown.answers if one["kind"] == "look.picture"]) == seen
    assert "Shown after" in shown.tab.inner_text("#look-time")


@pytest.mark.heavy
def test_classes_of_pixels_are_switched_and_explained(page: Any) -> None:
    file, _ = real_picture("camvid/val")
    shown = page("model=camvid")
    tab = shown.tab
    tab.set_input_files("#look-file", file)
    until(tab, "document.querySelector('#look-sample').value.startsWith('u')")
    until(tab, "document.querySelectorAll('#look-classes input').length > 3")
    (expected,) = Model.load("camvid").predict(file)
    areas = expected.values["areas"]
    largest = max(areas, key=lambda name: areas[name])
    until(tab, f"document.querySelector('#look-line').textContent.includes('{largest}')")
    assert tab.inner_text(f"[data-bar='{largest}'] b") == f"{100 * areas[largest]:.1f} %"
    before = shown.pixels()
    index = (Model.load("camvid").classes or ()).index(largest)
    tab.uncheck(f"[data-class='{index}']")
    without = shown.pixels()
    assert without != before
    tab.check(f"[data-class='{index}']")
    assert shown.pixels() == before
    tab.locator("#look-opacity").fill("0.2")
    assert shown.pixels() != before
    tab.locator("#look-opacity").fill("0.6")
    tab.check("[data-control='0']")  # the CRF
    until(tab, f"document.querySelector('#look-canvas').toDataURL() !== {before!r}", wait=2 * WAIT)
    tab.uncheck("[data-control='0']")
    until(tab, f"document.querySelector('#look-canvas').toDataURL() === {before!r}")
    tab.select_option("[data-group='Probability']", largest)
    until(tab, f"document.querySelector('#look-canvas').toDataURL() !== {before!r}")
    rows, columns = (expected.mask == index).nonzero().T
    middle = len(rows) // 2
    height, width = expected.mask.shape
    shown.click((int(columns[middle]) + 0.5) / width, (int(rows[middle]) + 0.5) / height)
    tab.wait_for_selector("[data-why]", timeout=WAIT)
    assert tab.inner_text("[data-of][aria-pressed=true] b") == largest


@pytest.mark.heavy
def test_heat_maps_bars_and_colours(page: Any) -> None:
    shown = page("model=faces")
    tab = shown.tab
    before = shown.pixels()
    tab.select_option("[data-group='Heat maps']", "p30")
    until(tab, f"document.querySelector('#look-canvas').toDataURL() !== {before!r}")
    tab.uncheck("[data-layer='points']")
    assert shown.pixels() != before
    shown = page("model=colorize")
    tab = shown.tab
    before = shown.pixels()
    shown.slide(0, 0)
    grey = shown.pixels()
    assert grey != before
    shown.slide(0, 2)
    assert shown.pixels() not in (grey, before)
    tab.check("[data-layer='grey']")
    assert not tab.locator("#look-hints").is_visible()
    shown = page("model=mnist-lenet&sample=digit+7")
    tab = shown.tab
    until(tab, "document.querySelector('[data-bar]')?.dataset.bar === '7'")
    tab.select_option("#look-sample", "digit 4")
    until(tab, "document.querySelector('[data-bar]')?.dataset.bar === '4'")
    tab.click("#look-ask")
    until(tab, "document.querySelector('[data-why]')?.textContent.includes('Why 4')")
    tab.click("#look-why a")
    until(tab, "document.querySelector('#explain-h')?.textContent === 'Why 4?'")


LOSE_NEXT = """() => {
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = async function (data) {
    if (!(await data.text()).includes('look.card')) return send.call(this, data);
    WebSocket.prototype.send = send;
    window.wasLost = true;
    this.close();
  };
}"""  # the connection that asks for the next card is lost


@pytest.mark.heavy
def test_models_are_found_and_a_broken_file_says_why(page: Any, folder: Path) -> None:
    shown = page("model=mnist-lenet")
    tab = shown.tab
    until(tab, "document.querySelectorAll('.look-card[data-state=ready]').length > 1", wait=2 * WAIT)
    tab.evaluate(LOSE_NEXT)
    tab.fill("#look-search", "detection")  # reads the others
    until(tab, "window.wasLost && document.querySelector('#look-count').textContent.includes('press Enter')")
    tab.press("#look-search", "Enter")  # goes on with what was waiting
    until(tab, "document.querySelector('[data-model=bccd] small').textContent.includes('AP50')")
    until(tab, "!document.querySelector('#look-count').textContent.includes('still')", wait=3 * WAIT)
    visible = (
        "[...document.querySelectorAll('.look-card')].filter((one) => !one.hidden).map((one) => one.dataset.model)"
    )
    assert tab.evaluate(visible) == ["bccd", "pennfudan"]
    assert "connection" not in tab.text_content("#look-cards")
    for words, found in (
        ("RBC", ["bccd"]), ("blood detector", ["bccd"]), ("road", ["camvid"]), ("people", ["pennfudan"]),
        ("persons", ["pennfudan"]), ("streets", ["camvid", "pennfudan"]), ("hands", ["signs"]), ("giraffe", []),
        ("person", ["pennfudan"]), ("Pedestrians", ["camvid", "pennfudan"]), ("handwritten giraffe", []),
        ("people's outlines", ["pennfudan"]), ("upright faces", ["faces"]), ("giraffe in a road", ["camvid"]),
    ):  # fmt: skip
        tab.fill("#look-search", words)
        assert tab.evaluate(visible) == found, words
        assert tab.inner_text("#look-count").startswith("none of") == (not found)
        hint = tab.inner_text("#look-searched")
        assert all(word in hint for word in ("detection", "RBC", "made for")) == (not found), words
    Model.load("mnist-lenet").save(folder / "later.safetensors")
    tab.wait_for_selector("[data-model='later.safetensors']", state="attached", timeout=WAIT)  # by itself
    tab.fill("#look-search", "broken")
    assert tab.evaluate(visible) == ["broken.onnx"]
    until(tab, "document.querySelector('[data-model=\"broken.onnx\"] small').textContent.includes('broken.onnx')")
    tab.click("[data-model='broken.onnx']")
    until(tab, "document.querySelector('#look-problem').textContent.includes('broken.onnx')")
    assert tab.inner_text("#look-h") == "mnist-lenet: classification"
    tab.fill("#look-search", "mine")
    mine = "document.querySelector('[data-model=\"mine.safetensors\"]')"
    until(tab, f"{mine}.textContent.includes('classification')", wait=2 * WAIT)
    tab.click("[data-model='mine.safetensors']")
    until(tab, "document.querySelector('#look-h').textContent.startsWith('mine.safetensors')", wait=2 * WAIT)
    assert tab.evaluate("document.querySelector('[data-model=\"mine.safetensors\"] canvas').width") > 1
    tab.fill("#look-search", "")
    assert len(tab.evaluate(visible)) == len(shown.last("look.models")["models"])


def test_a_film_is_watched(page: Any) -> None:
    shown = page("model=bccd")
    tab = shown.tab
    tab.click("#look-camera")
    until(tab, "document.querySelector('#look-rate').textContent.includes('a second')", wait=2 * WAIT)
    shapes = {tuple(answer["tensors"]["picture"].shape) for answer in shown.answers if answer["kind"] == "look.picture"}
    assert (3, 360, 480) in shapes
    first = shown.pixels()
    until(tab, f"document.querySelector('#look-canvas').toDataURL() !== {first!r}")
    tab.click("#look-camera")
    assert tab.inner_text("#look-camera") == "Start the camera"
    assert tab.inner_text("#look-rate") == ""
    tab.wait_for_timeout(1000)
    still = shown.pixels()
    tab.wait_for_timeout(500)
    assert shown.pixels() == still


@pytest.mark.parametrize(
    ("width", "scheme"), mostly_heavy([(390, "light"), (390, "dark"), (1440, "dark"), (1440, "light")], 2)
)
@pytest.mark.parametrize("model", mostly_heavy(["bccd", "camvid", "faces"], 2))
def test_the_page_fits_its_screen(model: str, width: int, scheme: str, page: Any) -> None:
    tab = page(f"model={model}", width, scheme).tab
    until(tab, f"({FIND_FAULTS})().length === 0", wait=20_000)
    assert serious_faults(tab) == []
