"""Controls of the view Look for colorizers, labels, key-points and videos: each is changed, and its effect is read."""

import base64
import io
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pellucid.combine import Sequential
from pellucid.generators import l1
from pellucid.layers import Dense, Flatten
from pellucid.losses import BinaryCrossEntropy
from pellucid.model import Model
from pellucid.tasks.colorize.colorizer import Colorizer
from pellucid.tasks.colorize.hints import Hint
from tests.studio.test_browser import WAIT, until
from tests.studio.test_look import layer, real_picture
from tests.studio.test_look_answers import constant_model
from tests.studio.test_look_browser import chromium, labelled, page, served  # noqa: F401  (fixtures)

pytestmark = [pytest.mark.real, pytest.mark.heavy]
CLASSES = ("cat", "dog", "boat")
SHOT = "document.querySelector('#look-canvas').toDataURL()"
DROP = """async (files) => {
  const transfer = new DataTransfer();
  for (const [name, type, bytes] of files)
    transfer.items.add(new File([new Uint8Array(bytes)], name, { type }));
  const drop = new DragEvent('drop', { dataTransfer: transfer, bubbles: true });
  document.querySelector('#look-canvas').dispatchEvent(drop);
}"""
# Each message of the page is sent so many milliseconds later than the one before.
DELAY = """(milliseconds) => {
  const send = WebSocket.prototype.send;
  let last = 0;
  WebSocket.prototype.send = function (data) {
    last = Math.max(last, performance.now()) + milliseconds;
    setTimeout(() => send.call(this, data), last - performance.now());
  };
}"""
PASTE = """async ([name, type, bytes]) => {
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([new Uint8Array(bytes)], name, { type }));
  document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true }));
}"""
# A film of one second that is first red and then blue, as the bytes of a WebM file in base64.
RECORD = """async () => {
  const canvas = Object.assign(document.createElement('canvas'), { width: 160, height: 120 });
  const pen = canvas.getContext('2d'), chunks = [];
  const recorder = new MediaRecorder(canvas.captureStream(20), { mimeType: 'video/webm' });
  recorder.ondataavailable = ({ data }) => chunks.push(data);
  const ended = new Promise((resolve) => (recorder.onstop = resolve));
  recorder.start();
  for (let k = 0; k < 24; k++) {
    pen.fillStyle = k < 12 ? 'rgb(200,0,0)' : 'rgb(0,0,200)';
    pen.fillRect(0, 0, 160, 120);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  recorder.stop();
  await ended;
  const bytes = new Uint8Array(await new Blob(chunks).arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
}"""


def hinted_colorizer() -> Model:
    return Model(l1(width=8, levels=2, hints=True), input_shape=(1, 16, 16))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a colorizer that takes hints, and a model of three labels."""
    path = tmp_path_factory.mktemp("models")
    hinted_colorizer().save(path / "hinted.safetensors")
    net = Sequential(flat=Flatten(), scores=Dense(3))
    labels = Model(net, loss=BinaryCrossEntropy(), input_shape=(1, 8, 8), classes=CLASSES)
    texts = {"kind": "labels", "files": "file", "split": "", "separator": " "}
    labels.preprocess["table"] = {**texts, "columns": ["labels"], "names": [*CLASSES], "units": []}
    labels.preprocess["thresholds"] = [0.40796300768852234, 0.1234567, 1 / 3]
    labels.save(path / "labels.safetensors")
    numbers = constant_model([0.5], {**texts, "kind": "numbers", "columns": ["t"], "names": ["t"], "units": ["°C"]})
    numbers.save(path / "numbers.safetensors")
    return path


def test_a_click_gives_a_colour_to_a_colorizer(page: Any) -> None:  # noqa: F811
    shown = page("model=hinted.safetensors&sample=photo+0")
    tab = shown.tab
    before = shown.pixels()
    picture = shown.last("look.picture")["tensors"]["picture"]
    tab.locator("#look-colour").fill("#ff0000")
    shown.click(0.5, 0.5)
    until(tab, "document.querySelector('#look-time').textContent.startsWith('Shown')")
    colorized = layer(shown.last("look.change"), "colorized", "image")
    x, y = picture.shape[2] // 2, picture.shape[1] // 2
    near = [Hint(x + dx, y + dy, (255, 0, 0)) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]  # pixels at the click
    colorizer = Colorizer(hinted_colorizer())
    assert any(torch.equal(colorized, colorizer(picture, [hint])[:3]) for hint in near)
    with_hint = shown.pixels()
    assert with_hint != before
    assert re.search(r"the colour at the hint is \d+ % (nearer|farther)", tab.inner_text("#look-line"))
    tab.click("#look-ask")
    tab.wait_for_selector("[data-why]", timeout=WAIT)
    assert "without the hints" in tab.inner_text("#look-why a")
    tab.click("[data-hide]")
    tab.locator("#look-colour").fill("#00ff00")
    shown.click(0.25, 0.25)
    until(tab, f"{SHOT} !== {with_hint!r}")
    tab.click("#look-unhint")
    until(tab, f"{SHOT} === {before!r}")
    tab.uncheck("#look-hinting")
    shown.click(0.5, 0.5)
    tab.wait_for_selector("[data-why]", timeout=WAIT)
    assert tab.inner_text("#look-why a") == "All methods in Explain"
    tab.click("[data-hide]")
    assert shown.pixels() == before
    for name in ("a, green to red", "b, blue to yellow"):
        tab.select_option("[data-group='Colours']", name)
        until(tab, f"{SHOT} !== {before!r}")
        tab.select_option("[data-group='Colours']", "")
        until(tab, f"{SHOT} === {before!r}")


def test_the_threshold_of_each_label_decides_about_it(page: Any) -> None:  # noqa: F811
    shown = page("model=labels.safetensors&sample=digit+3")
    tab = shown.tab
    values = {bar["name"]: bar["value"] for bar in shown.last("look.picture")["bars"]}
    for k in range(3):
        shown.slide(k, 1)
    for k, name in enumerate(CLASSES):
        assert tab.inner_text("#look-line") == "no label"
        assert tab.locator(".look-bar.below").count() == 3
        shown.slide(k, round(values[name] - 0.01, 2))
        assert tab.inner_text("#look-line") == name
        assert tab.locator(".look-bar.below").count() == 2
        assert "below" not in tab.get_attribute(f"[data-bar='{name}']", "class")
        shown.slide(k, 1)


def test_a_click_beside_a_key_point_explains_it(page: Any) -> None:  # noqa: F811
    file, _ = real_picture("faces/val")
    shown = page("model=faces")
    tab = shown.tab
    sample = shown.pixels()
    tab.set_input_files("#look-file", file)
    until(tab, f"{SHOT} !== {sample!r}")
    before = shown.pixels()
    seen = shown.last("look.picture")
    points, names = layer(seen, "points", "points"), [bar["name"] for bar in seen["bars"]]
    _, height, width = seen["tensors"]["picture"].shape
    for index in (8, 30, 57):
        shown.click(float(points[index, 0]) / width, float(points[index, 1]) / height)
        until(tab, f"document.querySelector('[data-why]')?.textContent.includes('x of {names[index]}')")
        assert shown.pixels() != before
    tab.click("[data-hide]")
    assert shown.pixels() == before


def test_a_point_is_found_by_the_number_of_it(page: Any) -> None:  # noqa: F811
    file, _ = real_picture("faces/val")
    shown = page("model=faces")
    tab = shown.tab
    sample = shown.pixels()
    tab.set_input_files("#look-file", file)
    until(tab, f"{SHOT} !== {sample!r}")
    seen = shown.last("look.picture")
    bars = {bar["name"]: bar["value"] for bar in seen["bars"]}
    points = layer(seen, "points", "points")
    scale = tab.evaluate("document.querySelector('#look-canvas').width") / seen["tensors"]["picture"].shape[2]
    least = min(bars, key=lambda name: bars[name])
    assert f"least certain: {least}" in tab.inner_text("#look-line")
    for name in (least, "p30"):
        x, y, _ = (points[list(bars).index(name)] * scale).tolist()

        def edge(at: tuple[int, int] = (round(x) - 5, round(y))) -> Any:
            """The colour just outside of a point that is not chosen."""
            content = base64.b64decode(shown.pixels().partition(",")[2])
            return Image.open(io.BytesIO(content)).convert("RGB").getpixel(at)

        before = edge()
        tab.click(f"[data-point='{name}']")
        until(tab, f"document.querySelector('[data-why]')?.textContent.includes('x of {name}')")
        assert edge()[0] < 60, before  # cyan: the point is larger
        assert min(edge()[1:]) > 180, before
        tab.click("[data-hide]")
        assert edge() == before
        shot = shown.pixels()
        tab.select_option("[data-group='Heat maps']", name)
        until(tab, f"{SHOT} !== {shot!r}")
        assert edge()[0] < 60  # its map names it, too
        tab.select_option("[data-group='Heat maps']", "")
        until(tab, f"{SHOT} === {shot!r}")


def test_it_is_said_until_the_last_answer_that_one_is_awaited(page: Any) -> None:  # noqa: F811
    tab = page("model=bccd").tab
    line = "document.querySelector('#look-time').textContent"
    tab.evaluate(DELAY, 1000)
    tab.locator("[data-control='0']").fill("0.4")
    tab.select_option("#look-sample", "cells 3")
    until(tab, f"{line} === 'Working…'")
    tab.wait_for_timeout(1200)  # the first has been answered
    assert tab.evaluate(line) == "Working…"
    until(tab, f"{line} !== 'Working…'")


def recorded_film(tab: Any) -> dict[str, Any]:
    recorder = tab.context.new_page()
    film = base64.b64decode(recorder.evaluate(RECORD))
    recorder.close()
    return {"name": "film.webm", "mimeType": "video/webm", "buffer": film}


@pytest.mark.parametrize(("how", "state"), [("picture", "cifar"), ("button", "cifar"), ("box", "bccd&values=0.01_0.6")])
def test_a_click_stops_a_film_and_explains_its_frame(how: str, state: str, page: Any) -> None:  # noqa: F811
    shown = page(f"model={state}")
    tab = shown.tab
    tab.set_input_files("#look-file", recorded_film(tab))
    until(tab, "document.querySelector('#look-rate').textContent.includes('a second')")
    if how == "box":
        tab.wait_for_selector("[data-box]", timeout=WAIT)
    if how == "picture":
        shown.click(0.5, 0.5)
    else:
        tab.evaluate(f"document.querySelector('{'#look-ask' if how == 'button' else '[data-box]'}').click()")
    tab.wait_for_selector("[data-why]", timeout=WAIT)
    assert tab.inner_text("#look-camera") == "Start the camera"
    tab.wait_for_timeout(1000)
    assert tab.locator("[data-why]").is_visible()  # no frame has followed
    assert tab.locator("#look-sample option:checked").text_content() == "film.webm"


def test_a_video_file_is_watched_instead_of_a_camera(page: Any) -> None:  # noqa: F811
    shown = page("model=cifar")
    tab = shown.tab
    tab.set_input_files("#look-file", recorded_film(tab))
    until(tab, "document.querySelector('#look-rate').textContent.includes('a second')")
    assert tab.locator("#look-sample option:checked").text_content() == "film.webm"
    assert tab.inner_text("#look-camera") == "Stop"
    for channel in (0, 2, 0):  # it begins again
        wait_for_colour(shown, channel)
    tab.click("#look-camera")
    assert tab.inner_text("#look-camera") == "Start the camera"
    tab.wait_for_timeout(500)
    still = shown.pixels()
    tab.wait_for_timeout(1500)
    assert shown.pixels() == still
    tab.set_input_files("#look-file", {"name": "bad.webm", "mimeType": "video/webm", "buffer": b"nonsense"})
    until(tab, "document.querySelector('#look-problem').textContent.includes('bad.webm cannot be played')")
    assert "MP4 with H.264" in tab.inner_text("#look-problem")


def wait_for_colour(shown: Any, channel: int) -> None:
    """Wait until the middle of the shown frame is red (0) or blue (2)."""
    end = time.monotonic() + WAIT / 1000
    while True:
        frame = shown.last("look.picture")["tensors"]["picture"].int()
        red, _, blue = frame[:, frame.shape[1] // 2, frame.shape[2] // 2].tolist()
        if (red - blue if channel == 0 else blue - red) > 60:
            return
        assert time.monotonic() < end
        shown.tab.wait_for_timeout(20)


def test_a_comparison_is_of_the_thresholds_that_stand(page: Any) -> None:  # noqa: F811
    shown = page("model=bccd")
    tab = shown.tab
    judged = "document.querySelector('#look-judged').textContent"
    tab.click("#look-judge")
    until(tab, f"{judged}.includes('pictures…')", wait=2 * WAIT)
    tab.get_by_role("slider", name="Score from").fill("0.8")  # while it compares
    until(tab, f"{judged}.startsWith('Precision')", wait=6 * WAIT)
    assert "at Score from 0.80, IoU of suppression" in tab.evaluate(judged)
    assert "held-out pictures" in tab.evaluate(judged)  # of its own data
    before = len([one for one in shown.answers if one["kind"] == "look.judge"])
    slider = tab.get_by_role("slider", name="Score from")
    for _ in range(20):
        slider.press("ArrowLeft")
    until(tab, f"{judged}.includes('at Score from 0.60')", wait=2 * WAIT)
    after = [one for one in shown.answers if one["kind"] == "look.judge"][before:]
    assert len([one for one in after if one["curve"]]) < 5  # only where the slider rests


def test_files_are_dropped_and_pasted(page: Any, tmp_path: Path) -> None:  # noqa: F811
    shown = page("model=mnist-lenet")
    tab = shown.tab
    Model.load("mnist-lenet").save(tmp_path / "mine.safetensors")
    drawn = Image.new("L", (84, 84), 255)
    drawn.paste(0, (38, 12, 46, 72))
    drawn.save(tmp_path / "one.png")
    one = ["one.png", "image/png", [*(tmp_path / "one.png").read_bytes()]]
    tab.evaluate(DROP, [one])
    until(tab, "document.querySelector('[data-bar]')?.dataset.bar === '1'")
    tab.select_option("#look-sample", "digit 5")
    until(tab, "document.querySelector('[data-bar]')?.dataset.bar === '5'")
    tab.evaluate(PASTE, one)
    until(tab, "document.querySelector('[data-bar]')?.dataset.bar === '1'")
    again = page("model=mnist-lenet").tab  # knows the files' names from the server
    assert again.locator("#look-sample option").all_text_contents().count("one.png") == 2
    tab.evaluate(DROP, [["model.safetensors", "", [*(tmp_path / "mine.safetensors").read_bytes()]]])
    until(
        tab,
        "document.querySelector('#look-h').textContent.includes('model.safetensors: classification')",
        wait=2 * WAIT,
    )
    chosen = "document.querySelector('.look-card[aria-pressed=true]')?.dataset.model"
    until(tab, f"{chosen}?.endsWith('model.safetensors')")
    tab.fill("#look-search", "blood")
    tab.evaluate(DROP, [["bad.onnx", "", [*b"nonsense"]]])
    until(tab, "document.querySelector('#look-problem').textContent.includes('bad.onnx')", wait=2 * WAIT)
    assert "is not an ONNX file, or is damaged" in tab.inner_text("#look-problem")
    assert tab.locator(".look-card").filter(has_text="bad.onnx").is_visible()
    tab.wait_for_timeout(1000)
    assert tab.locator("#look-problem").is_visible()  # also when its card has been read
    assert tab.evaluate("document.querySelector('[data-bar]').dataset.bar") == "1"  # the model before still works
    Model(Sequential(flat=Flatten(), scores=Dense(3)), input_shape=(5, 8, 8)).save(tmp_path / "five.safetensors")
    tab.evaluate(DROP, [["five.safetensors", "", [*(tmp_path / "five.safetensors").read_bytes()]]])
    until(tab, "document.querySelector('#look-problem').textContent.includes('(5, 8, 8)')", wait=2 * WAIT)
    assert "model.safetensors: classification" in tab.inner_text("#look-h")
    assert tab.evaluate(chosen).endswith("model.safetensors")


def test_each_of_many_dropped_files_is_taken_or_named(page: Any, tmp_path: Path) -> None:  # noqa: F811
    """Files of one drop, and of drops that follow at once: none is lost, and none is opened that may run code."""
    shown = page("model=mnist-lenet")
    tab = shown.tab
    Model.load("mnist-lenet").save(tmp_path / "mine.safetensors")
    Image.new("L", (40, 40), 255).save(tmp_path / "white.png")  # no digit, so the model refuses it
    drawn = Image.new("L", (84, 84), 255)
    drawn.paste(0, (38, 12, 46, 72))
    drawn.save(tmp_path / "drawn.png")
    bad = [
        ["empty.onnx", ""],
        ["notes.onnx", ""],
        ["data.zip", "application/zip"],
        ["white.png", ""],
        ["code.pkl", ""],
        ["old.pth", ""],
    ]
    good = ["own.safetensors", "", [*(tmp_path / "mine.safetensors").read_bytes()]]
    blank, picture = ([name, "image/png", [*(tmp_path / name).read_bytes()]] for name in ("white.png", "drawn.png"))
    tab.evaluate(DROP, [[*bad[0], []], good, [*bad[1], [*b"notes"]]])
    tab.evaluate(DROP, [[*bad[2], [*b"PK"]], blank])  # while the first ones are opened
    tab.evaluate(DROP, [*([*one, [*b"cos"]] for one in bad[4:]), picture])
    text = "document.querySelector('#look-problem').textContent"
    until(tab, f"{text}.includes('old.pth')", wait=4 * WAIT)
    lines = tab.inner_text("#look-problem").split("\n")
    assert len(lines) == len(bad)
    for line, (name, _) in zip(lines, bad, strict=True):
        assert name in line
    assert lines[0].startswith("empty.onnx is empty")
    assert all("may run code" in line for line in lines[4:])
    assert ".onnx" in lines[2]  # what may be dropped
    assert "blank" in lines[3]
    assert "own.safetensors: classification" in tab.inner_text("#look-h")
    assert tab.locator("#look-sample option:checked").inner_text() == "drawn.png"
    tab.evaluate(DROP, [[f"notes{k}.{end}", "", []] for k in range(12) for end in ("onnx", "png")])
    until(tab, f"{text}.includes('notes11.png')")
    lines = tab.inner_text("#look-problem").split("\n")
    assert len(lines) == 24
    assert all("is empty" in line for line in lines)
    assert tab.evaluate(
        "(({ scrollHeight, clientHeight }) => scrollHeight > clientHeight)(document.querySelector('#look-problem'))"
    )
    tab.evaluate(DROP, [])
    assert "no file" in tab.inner_text("#look-problem")
    shown.faults[:] = [fault for fault in shown.faults if "415" not in fault]  # of data.zip


@pytest.mark.parametrize("chosen", ["mnist-lenet", "bccd"])
def test_another_model_is_opened_from_a_labelled_picture(chosen: str, page: Any, labelled: Path) -> None:  # noqa: F811
    shown = page("model=bccd")
    tab = shown.tab
    tab.select_option("#look-data", str(labelled))
    tab.click("#look-judge")
    tab.wait_for_selector("[data-labelled]", timeout=4 * WAIT)
    name = tab.locator("[data-labelled] b").first.inner_text()
    tab.click("[data-labelled]")
    tab.wait_for_selector("[data-layer=missed]", timeout=WAIT)
    assert tab.locator("#look-sample option:checked").inner_text() == name
    tab.click(f"[data-model='{chosen}']")
    until(tab, f"location.hash.includes('model={chosen}&sample')", wait=2 * WAIT)
    assert tab.locator("#look-problem").is_hidden()
    assert tab.locator("[data-layer=missed]").count() == 0


def test_a_quantity_has_no_bar_and_no_percent(page: Any) -> None:  # noqa: F811
    shown = page("model=numbers.safetensors&sample=digit+3")
    (bar,) = shown.last("look.picture")["bars"]
    assert shown.tab.locator(".look-bar rect").count() == 0
    assert shown.tab.locator(".look-bar b").inner_text() == f"{bar['value']:.4g}"
    shown = page("model=labels.safetensors&sample=digit+3")
    assert shown.tab.locator(".look-bar rect.value").count() == 3
    for k in range(3):  # fitted thresholds have many digits
        assert len(shown.tab.locator("#look-controls output").nth(k).inner_text()) <= 5
