"""The view Teach in a browser with a fake camera: frames are collected, taught, answered, explained and saved."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pellucid.cli.main import main
from tests.report.test_browser import CHROMIUM, FIND_FAULTS
from tests.studio.accessibility import serious_faults
from tests.studio.collected import COLOURS, picture, write_camera
from tests.studio.test_browser import WAIT, until
from tests.studio.test_command import Started, studio

pytestmark = [pytest.mark.real, pytest.mark.heavy]
SHAPES = ("circle", "square", "cross")
# What the camera shows now, by the colour in the middle; "" before its first frame.
SHOWN = """(() => {
  const video = document.querySelector('#teach-video');
  if (video.readyState < 2) return '';
  const context = new OffscreenCanvas(320, 240).getContext('2d');
  context.drawImage(video, 0, 0, 320, 240);
  const [red, green, blue] = context.getImageData(160, 120, 1, 1).data;
  return red > green && red > blue ? 'circle' : green > blue ? 'square' : 'cross';
})()"""
EXPLAINED = "!document.querySelector('#teach-because').hidden"
FRAMES = """Number(document.querySelector('[data-class="{}"] [data-frames]').textContent)"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def served(runs: Path) -> Iterator[Started]:
    with studio(str(runs)) as started:
        yield started


@pytest.fixture(scope="module")
def context(served: Started, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser whose camera shows the shapes in turn, with the cookie of the studio."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    film = tmp_path_factory.mktemp("camera") / "shapes.y4m"
    write_camera(film, SHAPES)
    options = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with playwright.sync_playwright() as playwright_api:
        chromium = playwright_api.chromium.launch(
            executable_path=CHROMIUM, args=[*options, f"--use-file-for-fake-video-capture={film}"]
        )
        result = chromium.new_context(viewport={"width": 1280, "height": 900})
        page = result.new_page()
        page.goto(served.address)
        page.wait_for_selector("#views a[aria-current]", timeout=WAIT)
        page.close()
        yield result
        chromium.close()


@pytest.fixture
def tab(served: Started, context: Any) -> Iterator[Any]:
    faults: list[str] = []
    page = context.new_page()
    page.on("console", lambda one: faults.append(one.text) if one.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"http://{served.host}/#gestures")
    page.wait_for_selector("#teach-add", timeout=WAIT)
    until(page, "location.hash.includes('collection')")
    yield page
    page.close()
    assert faults == []


def add_classes(tab: Any, *names: str) -> None:
    for name in names:
        tab.fill("#teach-name", name)
        tab.keyboard.press("Enter")
        tab.wait_for_selector(f'[data-class="{name}"]', timeout=WAIT)


def wait_for_start_of(tab: Any, shape: str) -> None:
    """Wait until the camera begins to show a shape."""
    until(tab, f"{SHOWN} !== '{shape}'")
    until(tab, f"{SHOWN} === '{shape}'")


def collect_pictures(tab: Any, folder: Path, count: int, *shapes: str) -> None:
    """Add pictures of shapes to the classes of these names."""
    for shape in shapes:
        (folder / shape).mkdir()
        for number in range(count):
            picture(shape, 1, number).save(folder / shape / f"{number}.png")
        tab.set_input_files(f'[data-class="{shape}"] [webkitdirectory]', folder / shape)
        until(tab, f"{FRAMES.format(shape)} === {count}")


def fit(tab: Any) -> None:
    tab.click("#teach-fit")
    tab.wait_for_selector("#teach-accuracy", timeout=WAIT)


def test_three_classes_are_taught_by_a_camera_and_saved(
    tab: Any, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_classes(tab, *SHAPES)
    tab.click("#teach-camera")
    for shape in SHAPES:
        button = tab.locator(f'[data-class="{shape}"] [data-hold]')
        wait_for_start_of(tab, shape)
        if shape == "square":  # by the keyboard
            button.focus()
            tab.keyboard.down(" ")
            tab.wait_for_timeout(3000)
            tab.keyboard.up(" ")
        else:
            box = button.bounding_box()
            tab.mouse.move(box["x"] + 10, box["y"] + 10)
            tab.mouse.down()
            tab.wait_for_timeout(3000)
            tab.mouse.up()
        until(tab, f"{FRAMES.format(shape)} >= 5")
        after = tab.evaluate(FRAMES.format(shape))
        tab.wait_for_timeout(400)
        assert tab.evaluate(FRAMES.format(shape)) <= after + 1  # it ends with the button
    fit(tab)
    assert float(tab.get_attribute("#teach-accuracy", "data-value")) > 0.6
    counts = [int(text) for text in tab.locator("#teach-confusion td[data-count]").all_inner_texts()]
    held_out = [tab.evaluate(FRAMES.format(shape)) // 5 for shape in sorted(SHAPES)]
    assert [sum(counts[k : k + 3]) for k in (0, 3, 6)] == held_out
    for shape in SHAPES:
        until(tab, f"{SHOWN} === '{shape}' && document.querySelector('#teach-answer').textContent === '{shape}'")
    widths = tab.evaluate("[...document.querySelectorAll('.teach-track i')].map((one) => parseFloat(one.style.width))")
    assert sum(widths) == pytest.approx(100, abs=0.1)
    until(tab, EXPLAINED)
    assert "of it lies outside the dashed line" in tab.inner_text("#teach-edge")
    tab.uncheck("#teach-why")
    assert not tab.locator("#teach-map").is_visible()
    tab.fill("#teach-run", "shapes")
    tab.click("#teach-save button")
    until(tab, "document.querySelector('#teach-saved').textContent.includes('shapes-1')")
    picture("cross", 1, 999).save(tmp_path / "one.png")
    capsys.readouterr()
    assert main(["predict", str(runs / "shapes-1"), str(tmp_path / "one.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] == "cross"


def test_classes_of_files_that_differ_in_their_background_are_a_shortcut(tab: Any, tmp_path: Path) -> None:
    for name, background in (("wood", 1), ("wall", 2)):
        (tmp_path / name).mkdir()
        for number in range(12):
            picture("circle", background, number).save(tmp_path / name / f"{number}.png")
    (tmp_path / "wood" / "broken.png").write_bytes(b"no picture")
    add_classes(tab, "wood", "wall")
    files = '[data-class="{}"] input[data-files]:not([webkitdirectory])'
    tab.set_input_files(files.format("wood"), sorted((tmp_path / "wood").iterdir()))
    until(tab, "document.querySelector('[data-left]')?.textContent.includes('1 of 13 files left out')")
    assert "a text, no picture: broken.png" in tab.inner_text('[data-class="wood"] [data-left] li')
    tab.set_input_files('[data-class="wall"] [webkitdirectory]', tmp_path / "wall")
    until(tab, f"{FRAMES.format('wood')} === 12 && {FRAMES.format('wall')} === 12")
    fit(tab)
    assert "wall and wood are told apart by their background" in tab.inner_text("#teach-remarks")
    assert tab.locator("#teach-remarks canvas.over").count() == 1
    tab.set_input_files("#teach-try", sorted((tmp_path / "wall").iterdir())[0])
    until(tab, "document.querySelector('#teach-edge').textContent.includes('Beware of the shortcut')")
    assert tab.inner_text("#teach-answer") in {"wall", "unsure", "unlike anything it was trained on"}


def test_the_live_view_goes_on_when_changed_classes_are_trained_again(tab: Any, tmp_path: Path) -> None:
    add_classes(tab, *SHAPES)
    collect_pictures(tab, tmp_path, 12, *SHAPES)
    tab.click("#teach-camera")
    fit(tab)
    answered = f"document.querySelector('#teach-answer').textContent && {EXPLAINED}"
    until(tab, answered)
    names = list(SHAPES)
    for number in range(4):
        tab.fill(f'[data-class="{names[0]}"] [data-rename]', f"name{number}")
        tab.keyboard.press("Enter")
        tab.wait_for_selector(f'[data-class="name{number}"]', timeout=WAIT)
        assert f"still of {', '.join(sorted(names))}" in tab.inner_text("#teach-stale")
        names[0] = f"name{number}"
        tab.wait_for_timeout(37 * number)  # at different moments of a request for the map
        tab.click("#teach-fit")
        until(tab, f"document.querySelector('#teach-bars').textContent.includes('name{number}')")
        until(tab, answered)
        assert not tab.locator("#teach-stale").is_visible()
        assert not tab.locator("#teach-problem").is_visible()
        assert tab.inner_text("#teach-answer") in {*names, "unsure", "unlike anything it was trained on"}


def test_a_training_shows_no_earlier_answer_and_keeps_the_focus(tab: Any, tmp_path: Path) -> None:
    add_classes(tab, "circle", "square")
    refusal = "document.querySelector('#teach-refusal').textContent"
    tab.focus("#teach-fit")
    tab.keyboard.press("Enter")
    until(tab, f"{refusal}.includes('collect at least 5')")
    collect_pictures(tab, tmp_path, 6, "circle", "square")
    tab.focus("#teach-fit")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#teach-accuracy", timeout=WAIT)
    assert tab.evaluate("document.activeElement.id") == "teach-fit"
    assert not tab.locator("#teach-refusal").is_visible()
    tab.set_input_files("#teach-try", tmp_path / "circle/0.png")
    until(tab, f"document.querySelector('#teach-answer').textContent && {EXPLAINED}")
    shown = tab.evaluate("""(() => {
      document.querySelector('#teach-fit').click();
      const text = (id) => document.querySelector(`#teach-${id}`).textContent;
      return ['answer', 'reason', 'rate'].map(text).join('');
    })()""")
    assert shown == ""
    assert not tab.evaluate(EXPLAINED)
    assert tab.is_disabled("#teach-store")
    until(
        tab, "document.querySelector('#teach-answer').textContent && !document.querySelector('#teach-store').disabled"
    )


def test_frames_of_cells_and_of_classes_are_shown_and_removed(tab: Any, tmp_path: Path) -> None:
    add_classes(tab, "circle", "square")
    collect_pictures(tab, tmp_path, 30, "circle", "square")
    fit(tab)
    for cell in tab.locator("#teach-confusion button").all():
        cell.press("Enter")
        until(tab, f"document.querySelectorAll('#teach-cell canvas').length === {cell.inner_text()}")
    tab.click('[data-class="circle"] [data-show]')
    until(tab, "document.querySelectorAll('[data-frame]').length === 24")
    latest = "document.querySelector('[data-class=circle] canvas').toDataURL()"
    newest, before_it = (tab.evaluate(f"document.querySelector('[data-frame=\"{k}\"]').toDataURL()") for k in (23, 22))
    assert tab.evaluate(latest) == newest
    tab.focus('[data-frame-index="29"]')
    tab.keyboard.press("Enter")
    until(tab, f"{FRAMES.format('circle')} === 29")
    until(tab, "document.activeElement.dataset.frameIndex === '28'")
    assert tab.evaluate(latest) == before_it
    assert "the frames before these changes" in tab.inner_text("#teach-stale")
    tab.click("[data-k=older]")
    until(tab, "document.querySelectorAll('[data-frame]').length === 5")
    assert serious_faults(tab) == []
    remove = tab.locator('[data-class="circle"] [data-remove]')
    remove.dblclick()
    assert remove.get_attribute("aria-label") == "Sure? Remove circle with its 29 frames?"
    tab.focus("#teach-name")
    remove.click()  # it asks again
    remove.click()
    until(tab, "document.querySelectorAll('[data-class]').length === 1")


def test_a_saved_run_is_continued(tab: Any, tmp_path: Path) -> None:
    add_classes(tab, "circle", "square")
    collect_pictures(tab, tmp_path, 6, "circle", "square")
    fit(tab)
    tab.fill("#teach-run", "mine")
    tab.click("#teach-save button")
    until(tab, "document.querySelector('#teach-saved').textContent.includes('mine-1')")
    until(tab, "!document.querySelector('#teach-store').disabled")
    tab.click("#teach-new")  # which asks nothing, since all frames are saved
    tab.wait_for_selector("#teach-saved-runs", timeout=WAIT)
    until(tab, "document.querySelector('#teach-continue').textContent.includes('mine-1')")
    tab.focus("#teach-continue")
    tab.select_option("#teach-continue", "mine-1")
    tab.wait_for_selector('[data-class="square"]', timeout=WAIT)
    until(tab, f"{FRAMES.format('circle')} === 6 && {FRAMES.format('square')} === 6")
    assert not tab.locator("#teach-saved-runs").is_visible()
    until(tab, "document.activeElement.ariaLabel === 'Hold to collect circle'")
    assert tab.input_value("#teach-run") == "mine"
    fit(tab)
    tab.click("#teach-camera")
    for wait in (0, 150, 500):  # at different moments of a request for an answer or a map
        until(tab, EXPLAINED)
        for name in ("circle", "square"):
            tab.click(f'[data-class="{name}"] [data-remove]')
            tab.click(f'[data-class="{name}"] [data-remove]')
            until(tab, f"!document.querySelector('[data-class=\"{name}\"]')")
        tab.wait_for_timeout(wait)
        tab.select_option("#teach-continue", "mine-1")
        tab.wait_for_selector('[data-class="square"]', timeout=WAIT)
        tab.wait_for_timeout(1000)  # of ten frames
        assert not tab.locator("#teach-problem").is_visible()
        assert not tab.evaluate(EXPLAINED)
        assert [tab.inner_text(f"#teach-{name}") for name in ("answer", "reason", "rate", "bars")] == [""] * 4
        fit(tab)


def test_undo_shows_the_latest_frame_that_remains(tab: Any, tmp_path: Path) -> None:
    for name, shape in (("first", "circle"), ("second", "square")):
        picture(shape, 1, 0).save(tmp_path / f"{name}.png")
    add_classes(tab, "shape")
    thumbnail = "document.querySelector('[data-class=shape] canvas').toDataURL()"
    files = '[data-class="shape"] input[data-files]:not([webkitdirectory])'
    empty = tab.evaluate(thumbnail)
    tab.set_input_files(files, tmp_path / "first.png")
    until(tab, f"{FRAMES.format('shape')} === 1")
    first = tab.evaluate(thumbnail)
    tab.set_input_files(files, tmp_path / "second.png")
    until(tab, f"{FRAMES.format('shape')} === 2")
    assert tab.evaluate(thumbnail) != first
    for frames, expected in ((1, first), (0, empty)):
        tab.click('[data-class="shape"] [data-drop]')
        until(tab, f"{FRAMES.format('shape')} === {frames}")
        assert tab.evaluate(thumbnail) == expected


def test_a_page_that_is_loaded_again_keeps_classes(tab: Any) -> None:
    add_classes(tab, "&amp; one", *COLOURS)
    tab.click('[data-class="cross"] [data-remove]')
    until(tab, "document.querySelectorAll('[data-class]').length === 3")
    tab.fill('[data-class="circle"] [data-rename]', "disc")
    tab.keyboard.press("Enter")
    tab.wait_for_selector('[data-class="disc"]', timeout=WAIT)
    tab.fill("#teach-name", "../up")
    tab.keyboard.press("Enter")
    until(tab, "document.querySelector('#teach-problem').textContent.includes('the name of a class has')")
    tab.reload()
    tab.wait_for_selector('[data-class="disc"]', timeout=WAIT)
    names = tab.evaluate("[...document.querySelectorAll('[data-class]')].map((one) => one.dataset.class)")
    assert names == ["&amp; one", "disc", "square"]
    assert serious_faults(tab) == []
    assert tab.evaluate(f"({FIND_FAULTS})()") == []


def test_a_page_that_is_loaded_again_keeps_frames(tab: Any, tmp_path: Path) -> None:
    picture("circle", 1, 0).save(tmp_path / "one.png")
    add_classes(tab, "shape")
    tab.set_input_files('[data-class="shape"] input[data-files]:not([webkitdirectory])', tmp_path / "one.png")
    until(tab, f"{FRAMES.format('shape')} === 1")
    address = tab.evaluate("location.hash")
    tab.reload()
    tab.wait_for_selector('[data-class="shape"]', timeout=WAIT)
    assert tab.evaluate(FRAMES.format("shape")) == 1
    for view in ("#look", "#gestures"):  # by an address without a state, as in a lesson
        tab.evaluate(f"location.hash = '{view}'")
        until(tab, f"document.querySelector('#views [aria-current]').dataset.view === '{view[1:]}'")
    until(tab, f"location.hash === '{address}'")
    tab.reload()
    tab.wait_for_selector('[data-class="shape"]', timeout=WAIT)
    assert tab.evaluate(FRAMES.format("shape")) == 1


def test_the_browser_asks_before_a_tab_with_unsaved_frames_is_closed(tab: Any, runs: Path, tmp_path: Path) -> None:
    asked: list[str] = []

    def dismiss(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    def asks() -> bool:
        """Return whether the browser asks; the tab is left for a moment if it does not, and is then opened again."""
        del asked[:]
        tab.evaluate("setTimeout(() => location.reload())")
        tab.wait_for_timeout(3000)
        tab.wait_for_selector("#teach-add", timeout=WAIT)
        return asked == ["beforeunload"]

    tab.on("dialog", dismiss)
    files = '[data-class="{}"] input[data-files]:not([webkitdirectory])'
    add_classes(tab, "wood", "wall")
    assert not asks()
    until(tab, "document.querySelectorAll('[data-class]').length === 2")
    tab.click("#teach-name")  # without a click or a key the browser never asks
    for name, background in (("wood", 1), ("wall", 2)):
        for number in range(6):
            picture("circle", background, number).save(tmp_path / f"{number}.png")
        tab.set_input_files(files.format(name), sorted(tmp_path.glob("*.png")))
        until(tab, f"{FRAMES.format(name)} === 6")
        assert asks()
    fit(tab)
    assert asks()  # what is fitted is not saved
    tab.fill("#teach-run", "kept")
    tab.click("#teach-save button")
    until(tab, "document.querySelector('#teach-saved').textContent.includes('kept-1')")
    tab.set_input_files(files.format("wood"), tmp_path / "0.png")
    until(tab, f"{FRAMES.format('wood')} === 7")
    assert asks()  # of a frame after the run was saved
    tab.click('[data-class="wood"] [data-drop]')
    until(tab, f"{FRAMES.format('wood')} === 6")
    fit(tab)
    until(tab, "!document.querySelector('#teach-store').disabled")  # the results before stand until it has ended
    tab.click("#teach-save button")
    until(tab, "document.querySelector('#teach-saved').textContent.includes('kept-2')")
    assert not asks()
