"""Pages in a browser at three widths: no text cut off, no horizontal scrolling, no empty section.

The browser is the system's Chromium (see CONTRIBUTING.md); without it, these tests are skipped.
"""

import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from pellucid.cli.main import main
from pellucid.data.samples import write_samples
from pellucid.report.figures.classes import confusion_matrix
from pellucid.report.figures.grids import bar_panels
from pellucid.report.sections import FigurePart, Page, Section, TablePart
from tests.cli.test_train_own import coco

pytestmark = pytest.mark.real
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTHS = (390, 1280, 1920)  # pixels
FIND_FAULTS = """() => {
  const faults = new Set(), width = document.documentElement.clientWidth;
  const words = element => (element.textContent || '').trim().slice(0, 40);
  if (document.documentElement.scrollWidth > width + 1) faults.add('the page scrolls sideways');
  const scrolls = element => {
    for (let one = element.parentElement; one; one = one.parentElement)
      if (['auto', 'scroll'].includes(getComputedStyle(one).overflowX)) return true;
    return false;
  };
  for (const element of document.querySelectorAll('body *')) {
    if (element.closest('svg') && element.tagName !== 'svg') continue;
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    if (style.display === 'none' || !box.width || !box.height || style.position === 'absolute') continue;
    if ((box.right > width + 1 || box.left < -1) && !scrolls(element)) faults.add('outside: ' + words(element));
    if (['hidden', 'clip'].includes(style.overflowX) && !element.title && element.scrollWidth > element.clientWidth + 1)
      faults.add('clipped: ' + words(element));
  }
  for (const figure of document.querySelectorAll('figure'))
    if (figure.scrollWidth > figure.clientWidth + 1) faults.add('a figure is cut off: ' + words(figure));
  for (const drawing of document.querySelectorAll('svg')) {
    const frame = drawing.getBoundingClientRect();
    for (const text of drawing.querySelectorAll('text')) {
      const box = text.getBoundingClientRect();
      if (text.textContent.trim() && (box.right > frame.right + 2 || box.left < frame.left - 2))
        faults.add('text outside its figure: ' + words(text));
    }
  }
  for (const section of document.querySelectorAll('section'))
    if (!section.querySelector('svg, img, table, pre, p, dl, ol')) faults.add('empty section: ' + section.id);
  return [...faults];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as playwright_api:
        chromium = playwright_api.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the path of every page that the commands write, by its name."""
    root = tmp_path_factory.mktemp("pages")
    write_samples(root / "try")
    runs, page_numbers = str(root / "runs"), iter(range(100))
    short_run = ["train.epochs=2", "recipe.threads=1", "--out", runs]

    def sample(name: str) -> str:
        return str(root / "try" / name)

    def new_page() -> str:
        return str(root / f"page{next(page_numbers)}")

    (root / "outlines").mkdir()
    commands = [
        ["train", "digits", *short_run],
        ["train", "digits", "optimizer.lr=0.001", *short_run],
        ["train", "classify", sample("shapes"), "data.size=32", *short_run],
        ["train", "detect", sample("cells"), "data.size=160", *short_run],
        ["train", "detect", str(coco(root / "outlines", points=False)), "data.size=96", *short_run],
        ["train", "segment", sample("street"), "data.size=160", *short_run],
        ["train", "keypoints", sample("faces"), "data.size=64", *short_run],
        ["train", "colorize", sample("shapes"), "data.size=32", *short_run],
        ["demo", "--out", str(root / "demo")],
        ["train", "mnist-dcgan", "data.name=digits", "objective.size=8", *short_run],
        ["gestures", "train", sample("shapes"), "--epochs", "1", "--out", runs],
        ["compare-runs", f"{runs}/digits-1", f"{runs}/digits-2", "--out", new_page() + ".html"],
        ["sweep", "digits", "data.validation=0.1", *short_run[:2], "--over", "optimizer.lr=0.001..1.0:log", "--over",
         "network.activation=relu,tanh", "--out", str(root / "sweep")],
        ["colorize", "colorize", sample("flower.jpg"), "--out", new_page()],
        ["evaluate", "bccd", "--data", sample("cells"), "--html", new_page() + ".html"],
        ["explain", "mnist-lenet", sample("digit.png"), "--method", "all", "--out", new_page()],
        ["explain", f"{runs}/shapes-classify-1", "--page", new_page(), "--data", sample("shapes")],
        ["explain", "bccd", sample("cells.jpg"), "--box", "1", "--out", new_page()],
        ["explain", "pennfudan", sample("people.jpg"), "--box", "1", "--out", new_page()],
        ["trace", "mnist-lenet", sample("digit.png"), "--html", new_page() + ".html"],
        ["doctor", f"{runs}/digits-1", "--html", new_page() + ".html"],
        ["doctor", f"{runs}/cells-detect-1", "--data", sample("cells"), "--html", new_page() + ".html"],
    ]  # fmt: skip
    exit_codes = {" ".join(words): main(words) for words in commands}
    assert not any(exit_codes.values()), [words for words, code in exit_codes.items() if code]
    result = {page.relative_to(root).as_posix(): page for page in root.rglob("*.html")}
    assert len(result) >= len(commands)
    return result


@pytest.mark.long
def test_every_page_fits_all_screen_widths(browser: Any, pages: dict[str, Path]) -> None:
    """A single test for all pages and widths, since writing the pages takes a minute."""
    faults: dict[str, list[str]] = {}
    for width, colours in product(WIDTHS, ("light", "dark")):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=colours)
        for name, path in pages.items():
            page.goto(path.as_uri())
            page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
            if evaluation := page.evaluate(FIND_FAULTS):
                faults[f"{name} at {width} pixels, {colours}"] = evaluation
        page.close()
    assert not faults


def test_values_are_shown_at_the_pointer_and_tables_unfold(browser: Any, tmp_path: Path) -> None:
    bars = FigurePart("bars", bar_panels({"x": (3.0,), "y": (6.0,)}, ("weights",)), "Bars")
    matrix = FigurePart("matrix", confusion_matrix([[5, 2], [0, 7]], ["a", "b"]), "Matrix")
    table = TablePart("Rows", ("name", "value"), [(f"row {k}", "1") for k in range(30)])
    path = Page("p", [Section("s", "S", [bars, matrix, table])]).write(tmp_path / "page.html")
    tab = browser.new_page(viewport={"width": 390, "height": 900})
    tab.goto(path.as_uri())

    def tip(number: int, x: float, y: float) -> str:
        """Return the tooltip of a figure at a position in fractions of its picture."""
        box = tab.locator("figure svg").nth(number).bounding_box()
        tab.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        found = tab.locator("figure").nth(number).locator(".tip")
        return found.inner_text() if found.is_visible() else ""

    places = {text: (left, top) for left, top, _, _, text in bars.figure.tooltip_values()["marks"]}
    for text in ("x: 3 weights", "y: 6 weights"):
        assert tip(0, places[text][0] + 0.01, places[text][1] + 0.01) == text
    assert tip(0, 0.01, 0.99) == ""
    left, top, right, bottom = matrix.figure.tooltip_values()["box"]
    upper_right = (left + 0.75 * (right - left), top + 0.25 * (bottom - top))
    assert tip(1, *upper_right) == "true a\npredicted b\n2 of 7, 28.6 %"
    assert not tab.is_visible("text=row 29")
    tab.click("summary")
    assert tab.is_visible("text=row 29")
    tab.close()
