"""Every view of the studio is accessible and fits phones and screens, light and dark, and reconnects."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from pellucid.cli.main import main
from pellucid.studio.session import VIEWS
from tests.cases import mostly_heavy
from tests.report.test_browser import FIND_FAULTS, browser  # noqa: F401  (a fixture)
from tests.studio.accessibility import serious_faults
from tests.studio.test_browser import SOCKETS, WAIT, press_until, until
from tests.studio.test_command import Started, studio

pytestmark = pytest.mark.real
STATES = {  # (state in the address, selector of an element of the complete view)
    "draw": ("draw?model=mnist-mlp-100&sample=3.1&label=3", ".check:not([data-numeric=''])"),
    "draw, convolutions": ("draw?model=mnist-lenet&sample=3.1&label=5&pass=10", ".check:not([data-numeric=''])"),
    "learn": ("learn?list=all", ".learn-list"),
    "learn, a lesson": ("learn?lesson=descent&rates.rate=0.6", ".learn-column h3"),
    "play": ("play?", "#play-chart svg"),
    "play, why": ("play?hidden=3&problem=hills", "#play-chart svg"),
    "train, a form": ("train?", "#train-main input"),
    "train, a finished run": ("train?run=digits-1", ".conf [data-cell]"),
    "explain": ("explain?model=mnist-lenet&sample=digit+3", "#explain-relevance tr, #explain-relevance li"),
    "explain, a detector": ("explain?model=bccd", "#explain-figures .sum"),
    "inspect": ("inspect?model=mnist-lenet&layer=features.conv2", "#inspect-inside canvas[data-values]"),
    "inspect, a detector": ("inspect?model=bccd", "#inspect-inside canvas[data-values]"),
    "gestures": ("gestures?", "#teach-add"),
    "look": ("look?model=mnist-lenet&sample=digit+3", "[data-bar='3']"),
    "data": ("data?name=digits-1", "#data-shown figure img"),
    "inspect, gradients": ("inspect?model=mnist-lenet&layer=features.conv1&kind=verify", "#inspect-verdict[data-ok]"),
}
LOOKS = [
    (390, "light"), *(pytest.param(*look, marks=pytest.mark.heavy) for look in [(390, "dark"), (1280, "light")]),
    (1280, "dark"),
]  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, Started]]:
    """Two studios: one of a folder with a finished run (False), and one of a detector (True)."""
    folder = tmp_path_factory.mktemp("runs")
    settings = ["train.epochs=3", "train.keep=[0,1,2,3]", "recipe.threads=1"]
    assert main(["train", "digits", *settings, "--out", str(folder)]) == 0
    with studio(str(folder)) as runs, studio("bccd") as detector:
        yield {False: runs, True: detector}


@pytest.fixture(scope="module")
def cookies(served: dict[bool, Started], browser: Any) -> Any:  # noqa: F811
    context = browser.new_context()
    for one in served.values():
        page = context.new_page()
        page.goto(one.address)
        page.wait_for_selector("#views a[aria-current]", timeout=WAIT)
    result = context.cookies()
    context.close()
    return result


@pytest.fixture
def opened(browser: Any, served: dict[bool, Started], cookies: Any) -> Iterator[Any]:  # noqa: F811
    contexts: list[Any] = []
    faults: list[str] = []

    def new(name: str, width: int = 1280, scheme: str = "light") -> Any:
        state, ready = STATES[name]
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        context.add_cookies(cookies)
        tab = context.new_page()
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.add_init_script(SOCKETS)
        tab.goto(f"http://{served['detector' in name].host}/#{state}")
        tab.wait_for_selector(ready, timeout=WAIT, state="attached")
        tab.wait_for_timeout(1000)  # for elements that are added one by one
        return tab

    yield new
    for context in contexts:
        context.close()
    assert faults == []


def test_every_view_has_a_state() -> None:
    pytest.importorskip("pellucid.lessons")  # a folder that may be left out, with its view
    assert {name.partition(",")[0] for name in STATES} == set(VIEWS), "give each view a state in STATES"


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
@pytest.mark.parametrize("name", mostly_heavy(STATES, 2))
def test_a_view_is_accessible_and_fits_its_screen(name: str, width: int, scheme: str, opened: Any) -> None:
    tab = opened(name, width, scheme)
    until(tab, f"({FIND_FAULTS})().length === 0", wait=20_000)
    assert serious_faults(tab) == []


@pytest.mark.parametrize(
    ("name", "action", "after"),
    mostly_heavy(
        [
            ("draw", "[data-take='6']", "document.querySelector('#read').textContent === '6'"),
            ("learn, a lesson", "[data-answer='0']", "document.querySelector('[data-shown=\"rate=0.6 start_x=1.0\"]')"),
            ("play", "#play-epoch-go", "document.querySelector('#play-epoch').textContent === '1'"),
            ("train, a finished run", "[data-cell='3,3']", "document.querySelectorAll('.images canvas').length"),
            ("explain", "[data-of='5']", "document.querySelector('#explain-h').textContent === 'Why 5?'"),
            ("inspect", "[data-kind=verify]", "document.querySelector('#inspect-verdict')?.dataset.ok === 'true'"),
        ],
        3,
    ),
)
def test_a_view_works_after_a_dropped_connection(name: str, action: str, after: str, opened: Any) -> None:
    tab = opened(name)
    tab.evaluate("sockets.at(-1).close()")
    until(tab, "sockets.length > 1 && sockets.at(-1).readyState === 1")
    until(tab, "document.querySelector('#link').hidden")
    tab.click(action)
    until(tab, after)


@pytest.mark.parametrize("name", mostly_heavy(["learn", "play", "train, a form", "inspect", "gestures", "look"], 3))
def test_the_skip_link_moves_the_focus_to_the_view_and_keeps_the_address(name: str, opened: Any) -> None:
    tab = opened(name)
    before, entries = tab.url, tab.evaluate("history.length")
    press_until(tab, ".skip")
    tab.keyboard.press("Enter")
    until(tab, "document.activeElement.id === 'main'")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.closest('.view:not([hidden])') !== null")
    assert (tab.url, tab.evaluate("history.length")) == (before, entries)


def test_a_picture_is_explained_by_keys_alone(opened: Any) -> None:
    tab = opened("explain")
    press_until(tab, "[data-of]")
    tab.keyboard.press("ArrowRight")
    until(tab, "document.querySelector('#explain-h').textContent === 'Why 4?'")
    press_until(tab, "#explain-model")
    assert tab.evaluate("document.activeElement.tagName") == "SELECT"


def test_a_layer_is_inspected_by_keys_alone(opened: Any) -> None:
    tab = opened("inspect")
    press_until(tab, "button.lrow")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    chosen = tab.inner_text("#inspect-name")
    assert chosen != "features.conv2"
    press_until(tab, "[data-kind]")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("document.activeElement.dataset.kind")
    assert tab.inner_text("#inspect-name") == chosen


@pytest.mark.heavy
@pytest.mark.parametrize("command", ["trace", "explain"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_view_as_a_file_is_accessible(command: str, width: int, browser: Any, tmp_path: Path) -> None:  # noqa: F811
    file, picture = tmp_path / "view.html", Image.new("L", (84, 84), 255)
    ImageDraw.Draw(picture).line([(42, 12), (42, 72)], 20, 9)
    picture.save(tmp_path / "one.png")
    assert main([command, "mnist-mlp-100", str(tmp_path / "one.png"), "--html", str(file)]) == 0
    tab = browser.new_page(viewport={"width": width, "height": 900})
    tab.goto(file.as_uri())
    tab.wait_for_timeout(2000)
    assert serious_faults(tab) == []
    tab.close()


@pytest.mark.parametrize(
    ("name", "state"),
    mostly_heavy(
        [("play", "problem=spirals&hidden=4%7E4"), ("learn", "lesson=boxes"), ("inspect", "model=mnist-lenet")], 3
    ),
)
def test_a_view_that_is_appended_to_the_printed_address_is_opened(name: str, state: str, browser: Any) -> None:  # noqa: F811
    with studio() as started:
        context = browser.new_context()
        page = context.new_page()
        page.set_content(f"<a href='{started.address}#{name}?{state}'>open</a>")  # as a link of another site
        page.click("a")
        current = f"#views a[data-view={name}][aria-current]"
        page.wait_for_selector(current, timeout=WAIT)
        assert page.url.startswith(f"http://{started.host}/#{name}?{state}")
        page.reload()
        page.wait_for_selector(current, timeout=WAIT)
        context.close()


DROP = """async (target) => {
  const canvas = new OffscreenCanvas(84, 84), pen = canvas.getContext('2d'), transfer = new DataTransfer();
  pen.fillStyle = 'white';
  pen.fillRect(0, 0, 84, 84);
  pen.fillStyle = 'black';
  pen.fillRect(38, 12, 8, 60);
  transfer.items.add(new File([await canvas.convertToBlob()], 'one.png', { type: 'image/png' }));
  const given = { dataTransfer: transfer, bubbles: true, cancelable: true };
  return ['dragover', 'drop'].map((kind) => document.querySelector(target).dispatchEvent(new DragEvent(kind, given)));
}"""


@pytest.mark.parametrize("name", ["learn", "data", "train, a form", "explain", "look"])
@pytest.mark.parametrize("target", mostly_heavy(["#views a", "body"], 2))
def test_a_file_that_is_dropped_beside_the_view_does_not_replace_the_page(name: str, target: str, opened: Any) -> None:
    tab = opened(name)
    assert tab.evaluate(DROP, target) == [False, False]  # both are prevented
    if name in ("explain", "look"):
        until(tab, f"location.hash.startsWith('#{name}') && location.hash.includes('upload=u')")
