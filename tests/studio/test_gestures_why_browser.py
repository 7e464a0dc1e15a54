"""The view Teach in a browser: the frame that *Why* explains, its map and sentence, and what a phone shows at once."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.data.samples.scenes import street
from tests.report.test_browser import FIND_FAULTS
from tests.studio.accessibility import serious_faults
from tests.studio.collected import COLOURS, outline
from tests.studio.test_browser import WAIT, until
from tests.studio.test_gestures_browser import (  # noqa: F401, fixtures
    EXPLAINED,
    FRAMES,
    SHAPES,
    add_classes,
    collect_pictures,
    context,
    fit,
    runs,
    served,
    tab,
)

pytestmark = pytest.mark.real
# The difference of the map's opacity, 0 to 255, from a map of the shown frame that is asked on another connection.
DIFFERENCE = """(async () => {
  const read = (id) => {
    const canvas = document.querySelector(id), { width, height } = canvas;
    const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
    context.drawImage(canvas, 0, 0);
    return context.getImageData(0, 0, width, height);
  };
  const frame = read('#teach-frame'), map = read('#teach-map'), size = frame.width * frame.height;
  const data = new Uint8Array(3 * size);
  for (let k = 0; k < size; k++) for (let c = 0; c < 3; c++) data[c * size + k] = frame.data[4 * k + c];
  const { Server } = await import('/core/server.js');
  const server = new Server(() => {});
  await new Promise((resolve) => (server.onopen = resolve));
  await server.ask('gestures.open', { collection: new URLSearchParams(location.hash.split('?')[1]).get('collection') });
  await server.ask('gestures.predict', {}, { frame: { dtype: 'uint8', shape: [3, frame.height, frame.width], data } });
  const values = (await server.ask('gestures.why')).tensors.map.data, most = Math.max(...values);
  server.close();
  return Math.max(...values.map((value, k) => Math.abs(map.data[4 * k + 3] - 255 * value / most)));
})()"""
SENTENCE = re.compile(r"(.+?) % of it lies .*outer fifth of each side, which is (.+?) % of the frame: (.*)\.")
# Those of the elements that are not in sight, or covered by another.
IN_SIGHT = """(selectors) => selectors.filter((selector) => {
  const one = document.querySelector(selector), { left, right, top, bottom } = one.getBoundingClientRect();
  const isSeen = (x, y) => one === document.elementFromPoint(x, y) || one.contains(document.elementFromPoint(x, y));
  const x = (left + right) / 2;
  return !(top >= 0 && bottom <= innerHeight && isSeen(x, top + 2) && isSeen(x, bottom - 3));
})"""


def scene(shape: str | None, left: int, top: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Return a street with a shape at a place."""
    image = street(1)[0].crop((0, 0, 440, 330)).resize(size)
    if shape is not None:
        mask = outline(shape).resize((90, 90))
        image.paste(Image.new("RGB", mask.size, COLOURS[shape]), (left, top), mask)
    return image


def shot_of(tab: Any, selector: str) -> np.ndarray:  # noqa: F811
    return np.array(Image.open(io.BytesIO(tab.locator(selector).screenshot())).convert("RGB"), dtype=float)


@pytest.mark.heavy
def test_the_sentence_of_the_edge_fits_the_painted_map(tab: Any, tmp_path: Path) -> None:  # noqa: F811
    """The amount of paint is measured on screenshots with and without the map, outside a fifth of each side."""
    add_classes(tab, *SHAPES)
    collect_pictures(tab, tmp_path, 12, *SHAPES)
    fit(tab)
    places = [("circle", 115, 75), ("circle", 0, 150), ("square", 230, 0), ("cross", 230, 150), (None, 0, 0)]
    edges = []
    for number, (shape, left, top) in enumerate(places):
        for size in ((320, 240), (240, 320)) if number == 0 else ((320, 240),):
            scene(shape, left, top, size).save(tmp_path / "one.png")
            tab.evaluate("document.querySelector('#teach-because').hidden = true")
            tab.set_input_files("#teach-try", tmp_path / "one.png")
            until(tab, EXPLAINED)
            painted = shot_of(tab, "#teach-because .teach-shot")
            tab.evaluate("document.querySelector('#teach-map').style.visibility = 'hidden'")
            bare = shot_of(tab, "#teach-because .teach-shot")
            tab.evaluate("document.querySelector('#teach-map').style.visibility = ''")
            assert bare.shape[0] / bare.shape[1] == pytest.approx(size[1] / size[0], abs=0.02)
            rgb = tab.evaluate("""(() => {
              const context = new OffscreenCanvas(1, 1).getContext('2d');
              context.fillStyle = getComputedStyle(document.querySelector('#teach-map')).color;
              context.fillRect(0, 0, 1, 1);
              return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
            })()""")
            towards = np.array(rgb) - bare
            paint = ((painted - bare) * towards).sum(2) / (towards**2).sum(2)
            height, width = paint.shape
            rows, columns = round(0.2 * height), round(0.2 * width)
            middle = paint[rows : height - rows, columns : width - columns]
            edge = 100 * (1 - middle.sum() / paint.sum())
            sentence = tab.inner_text("#teach-edge")
            found = SENTENCE.match(sentence)
            assert found, sentence
            said, area = float(found[1]), float(found[2])
            assert said == pytest.approx(edge, abs=3)  # faint paint is rounded to none
            assert area == pytest.approx(100 * (1 - 0.6**2), abs=1)
            verdict = "spread over the middle and the edge"
            if said < 50:
                verdict = "mostly in the middle; compare the map with the object"
            elif said > area:
                verdict = "mostly at the edge, on the background unless the object is there"
            assert found[3] == verdict
            edges.append(edge)
    assert max(edges) - min(edges) > 20  # they differ, so that a wrong number would not fit by chance


@pytest.mark.heavy
def test_the_map_is_of_the_frame_that_is_shown_with_it(tab: Any, tmp_path: Path) -> None:  # noqa: F811
    add_classes(tab, *SHAPES)
    collect_pictures(tab, tmp_path, 12, *SHAPES)
    fit(tab)
    tab.click("#teach-camera")
    until(tab, EXPLAINED)
    for milliseconds in (0, 130, 370, 710, 1100):
        tab.wait_for_timeout(milliseconds)
        assert tab.evaluate(DIFFERENCE) <= 2


def test_a_phone_shows_camera_answer_and_why_at_once(tab: Any, tmp_path: Path) -> None:  # noqa: F811
    add_classes(tab, *SHAPES)
    collect_pictures(tab, tmp_path, 12, *SHAPES)
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.click("#teach-camera")
    tab.focus("#teach-fit")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#teach-accuracy", timeout=WAIT)
    until(tab, EXPLAINED)
    assert tab.evaluate("document.activeElement.id") == "teach-fit"
    live = ["#teach-shot", "#teach-fit", "#teach-bars", "#teach-because"]
    assert tab.evaluate(IN_SIGHT, live) == []
    for shape in SHAPES:
        hold = f'[data-class="{shape}"] [data-hold]'
        tab.focus("#teach-run")
        tab.focus(hold)
        assert tab.evaluate(IN_SIGHT, ["#teach-shot", hold]) == []
    assert tab.evaluate(f"({FIND_FAULTS})()") == []
    assert serious_faults(tab) == []
    tab.set_viewport_size({"width": 1280, "height": 900})


@pytest.mark.heavy
def test_each_step_of_a_training_is_shown(tab: Any, tmp_path: Path) -> None:  # noqa: F811
    add_classes(tab, *SHAPES)
    collect_pictures(tab, tmp_path, 20, *SHAPES)
    tab.evaluate("""(() => {
      const reason = document.querySelector('#teach-reason');
      window.texts = [];
      new MutationObserver(() => window.texts.push(reason.textContent)).observe(reason, { childList: true });
    })()""")
    fit(tab)
    steps = [text for text in tab.evaluate("window.texts") if text.startswith("Step ")]
    numbers = [int(text[5]) for text in steps]
    assert numbers == sorted(numbers)
    assert 2 in numbers  # the first may be over before the page asks
    assert all(re.fullmatch(r"Step \d of 4: [a-z ,]+", text) for text in steps)
    assert not tab.inner_text("#teach-reason").startswith("Step ")


@pytest.mark.heavy
def test_frames_of_a_cell_keep_their_shape_and_stay_when_the_window_is_resized(tab: Any, tmp_path: Path) -> None:  # noqa: F811
    add_classes(tab, "circle", "square")
    for shape, sizes in (("circle", [(320, 240)]), ("square", [(240, 320), (320, 160)])):
        (tmp_path / shape).mkdir()
        for number in range(20):
            scene(shape, 50 + number, 50, sizes[number % len(sizes)]).save(tmp_path / shape / f"{number:02d}.png")
        tab.set_input_files(f'[data-class="{shape}"] [webkitdirectory]', tmp_path / shape)
        until(tab, f"""document.querySelector('[data-class="{shape}"] [data-frames]').textContent === '20'""")
    fit(tab)
    for cell, expected in (("0,0", [4 / 3] * 4), ("1,1", [3 / 4, 2] * 2)):
        tab.click(f'[data-cell="{cell}"]')
        until(tab, "document.querySelectorAll('#teach-cell canvas').length === 4")
        for width in (1280, 390, 1280):
            tab.set_viewport_size({"width": width, "height": 900})
            # the frames may be drawn again after the change of size, and are gone for a moment
            until(
                tab,
                f"""(() => {{
              const frames = [...document.querySelectorAll("#teach-cell canvas")];
              const ratios = frames.map((one) => one.clientWidth / one.clientHeight);
              return ratios.length === 4 && ratios.every((ratio, k) => Math.abs(ratio - {expected}[k]) < 0.05);
            }})()""",
            )


@pytest.mark.parametrize("colour", ["#b5195f", "#e02020", "#ff66aa", "#2040c0"])
def test_the_map_is_seen_on_an_object_of_any_colour(colour: str, tab: Any) -> None:  # noqa: F811
    """Also on one of the map's own colour: where all evidence is, a pixel differs from one where none is."""
    tab.evaluate(
        """(colour) => {
      const figure = document.querySelector('#teach-because');
      figure.hidden = false;
      figure.style.setProperty('--ratio', 1);
      for (const [id, fill, width] of [['frame', colour, 40], ['map', null, 20]]) {
        const canvas = document.querySelector(`#teach-${id}`), context = canvas.getContext('2d');
        Object.assign(canvas, { width: 40, height: 40 });
        context.fillStyle = fill ?? getComputedStyle(canvas).color;
        context.fillRect(0, 0, width, 40);
      }
    }""",
        colour,
    )
    shot = shot_of(tab, "#teach-frame")
    height, width = shot.shape[:2]
    left, right = shot[height // 2, int(0.35 * width)], shot[height // 2, int(0.65 * width)]
    assert np.abs(left - right).max() > 60


def test_frames_stand_in_a_grid_whether_they_are_held_out_or_not(tab: Any, tmp_path: Path) -> None:  # noqa: F811
    add_classes(tab, "circle")
    collect_pictures(tab, tmp_path, 24, "circle")
    tab.click('[data-class="circle"] [data-show]')
    until(tab, "document.querySelectorAll('[data-frame]').length === 24")
    assert tab.get_by_text("held out", exact=True).count() == 4
    lefts = tab.evaluate(
        "[...document.querySelectorAll('[data-frame]')].map((one) => one.getBoundingClientRect().left)"
    )
    columns = lefts[: lefts.index(lefts[0], 1)]
    assert len(columns) > 2
    assert lefts == [columns[k % len(columns)] for k in range(24)]


@pytest.mark.parametrize("view", ["look", "draw", "learn"])
def test_a_page_that_is_loaded_again_at_another_view_keeps_the_frames_until_a_new_collection(
    view: str,
    tab: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    add_classes(tab, "circle", "square")
    collect_pictures(tab, tmp_path, 2, "circle")
    tab.evaluate(f"location.hash = '#{view}'")
    until(tab, f"document.querySelector('#views [aria-current]').dataset.view === '{view}'")
    tab.once("dialog", lambda dialog: dialog.accept())
    tab.reload()
    until(tab, f"document.querySelector('#views [aria-current]')?.dataset.view === '{view}'")
    tab.evaluate("location.hash = '#gestures'")
    tab.wait_for_selector('[data-class="square"]', timeout=WAIT)
    assert tab.evaluate(FRAMES.format("circle")) == 2
    address = tab.evaluate("location.hash")
    for answer, count in (("dismiss", 2), ("accept", 0)):
        tab.once("dialog", lambda dialog, answer=answer: getattr(dialog, answer)())
        tab.click("#teach-new")
        until(tab, f"document.querySelectorAll('[data-class]').length === {count}")
    until(tab, f"location.hash !== '{address}'")
    assert tab.evaluate("document.activeElement.id") == "teach-name"
    assert tab.inner_text("#teach-total").startswith("0 frames")
    add_classes(tab, "cross")


def test_a_moved_threshold_is_applied_to_the_answer(tab: Any, tmp_path: Path) -> None:  # noqa: F811
    add_classes(tab, "circle", "square")
    collect_pictures(tab, tmp_path, 60, "circle", "square")
    fit(tab)
    tab.set_input_files("#teach-try", tmp_path / "circle/0.png")
    answer = "document.querySelector('#teach-answer').textContent"
    tab.fill('[data-threshold="unlike"]', "20")
    for unsure, expected in ("0", "circle"), ("1", "unsure"), ("0", "circle"):
        tab.fill('[data-threshold="unsure"]', unsure)
        until(tab, f"{answer} === '{expected}'")
    tab.fill('[data-threshold="unlike"]', "0.1")
    until(tab, f"{answer}.startsWith('unlike anything')")
    slider = """name => document.querySelector(`[data-threshold="${name}"]`).parentElement.textContent"""
    moved = [tab.evaluate(slider, name) for name in ("unsure", "unlike")]
    assert [one.split()[-1] for one in moved] == ["%", "0.1"]
    values = tab.inner_text("[data-fitted]").removeprefix("As fitted: ").split(" and ")
    tab.reload()  # the fitted values are known after it too
    tab.click("[data-fitted]", timeout=WAIT)
    for name, value in zip(("unsure", "unlike"), values, strict=True):
        until(tab, f"({slider})('{name}').trim().endsWith('{value}')")
    assert f"Unsure below {values[0]}, fitted" in tab.inner_text("#teach-confusion")


def test_the_frame_of_a_camera_is_scaled_as_the_same_picture_of_a_file(tab: Any) -> None:  # noqa: F811
    differences = tab.evaluate("""async () => {
      const { grab } = await import('/core/source.js'), result = [];
      for (const [width, height] of [[640, 480], [1280, 720], [300, 300], [480, 640]]) {
        const canvas = Object.assign(document.createElement('canvas'), { width, height });
        const context = canvas.getContext('2d'), image = context.createImageData(width, height);
        for (let k = 0; k < image.data.length; k++) image.data[k] = k % 4 === 3 ? 255 : 255 * Math.random();
        context.putImageData(image, 0, 0);
        const video = document.createElement('video');
        Object.assign(video, { muted: true, srcObject: canvas.captureStream() });
        await video.play();
        const file = grab(await createImageBitmap(video), 128, 256), camera = grab(video, 128, 256);
        const differences = camera.data.map((value, k) => Math.abs(value - file.data[k]));
        result.push([differences.reduce((sum, d) => sum + d, 0) / differences.length, ...camera.shape]);
      }
      return result;
    }""")
    assert [shape for _, *shape in differences] == [[3, 128, 171], [3, 128, 228], [3, 128, 128], [3, 171, 128]]
    assert max(difference for difference, *_ in differences) < 1  # of 255; scaled by the browser, up to 9
