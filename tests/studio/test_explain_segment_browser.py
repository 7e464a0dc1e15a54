"""The view Explain in a browser for a segmentation: a pixel, a region, and class names that look like HTML."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pellucid.layers.base import Mode
from pellucid.model import Model
from pellucid.studio.pictures import sample
from pellucid.task import task_of
from tests.report.test_browser import browser  # noqa: F401  (a fixture)
from tests.studio.test_browser import WAIT, until
from tests.studio.test_command import studio
from tests.studio.test_explain_browser import Page

pytestmark = pytest.mark.real
HOSTILE = "<img src=x onerror=\"document.title='taken'\">"
CLASSES = {"car": HOSTILE, "road": "</script><b>road", "sky": "&lt;sky&gt;"}


@pytest.fixture
def street() -> Model:
    model = Model.load("camvid")
    model.classes = tuple(CLASSES.get(name, name) for name in model.classes or ())
    return model


@pytest.fixture
def page(street: Model, tmp_path: Path, browser: Any) -> Iterator[Page]:  # noqa: F811
    file = tmp_path / "street.safetensors"
    street.save(file)
    with studio(str(file)) as started:
        context = browser.new_context()
        tab = context.new_page()
        tab.goto(started.address)
        tab.wait_for_selector("#explain-figures figure", timeout=WAIT)
        result = Page(browser, started.host, context.cookies(), "sample=street+0&methods=gradcam")
        yield result
        assert result.faults == []
        result.context.close()
        context.close()


@pytest.mark.heavy
def test_a_pixel_and_a_region_are_explained_and_names_are_text(page: Page, street: Model) -> None:
    task = task_of(street)
    picture = task.resize_to_input(street, task.predictor(street).frame(sample("street 0")))
    y, _ = street.net.forward(street.params, street.scaled(picture[None]), Mode(keep=False))
    names, (_, height, width) = list(street.classes or ()), picture.shape
    tab, shot = page.tab, page.tab.locator("[data-figure=picture] [data-shot]")
    shot.scroll_into_view_if_needed()
    box = shot.bounding_box()

    def at(row: float, column: float) -> tuple[float, float]:
        return box["x"] + (column + 0.5) / width * box["width"], box["y"] + (row + 0.5) / height * box["height"]

    def aim(chosen: str, place: str) -> Any:
        for text in (chosen, place):
            until(tab, f"document.querySelector('#explain-h').textContent.includes({text!r})")
        page.settle()
        return page.last("explain.aim")

    scale = sample("street 0").shape[1] // height  # pixels of the picture for one of the network's input
    row, column = height - 10, width // 2  # a pixel of the road
    tab.mouse.click(*at(row, column))
    index = int(y[0, :, row, column].argmax())
    aimed = aim(names[index], f" at rows {scale * row} to {scale * (row + 1) - 1} ")
    assert aimed["chosen"] == index == names.index(CLASSES["road"])
    assert aimed["score"] == pytest.approx(float(y[0, index, row, column]), rel=1e-4)
    tab.mouse.move(*at(5, 5))
    tab.mouse.down()
    tab.mouse.move(*at(20, 30), steps=4)
    tab.mouse.up()
    region = y[0, :, 5:21, 5:31].mean((1, 2))
    aimed = aim(names[int(region.argmax())], f" at rows {5 * scale} to ")
    assert aimed["score"] == pytest.approx(float(region.max()), rel=0.02, abs=0.05)  # its edge may differ
    tab.click(f"[data-of='{CLASSES['car']!s}']".replace("'taken'", "\\'taken\\'"))
    aimed = aim(HOSTILE, f" at rows {5 * scale} to ")
    assert aimed["score"] == pytest.approx(float(region[names.index(HOSTILE)]), rel=0.02, abs=0.05)
    assert re.search(re.escape(HOSTILE), tab.inner_text("#explain-h"))  # the name is shown as text
    assert tab.evaluate("document.querySelectorAll('img[src=x], script:not([src]), main b b').length") == 0
    tab.goto(tab.url.replace("#explain", "#inspect"))
    tab.wait_for_selector("#inspect-inside canvas[data-values]", timeout=WAIT)
    assert tab.evaluate("document.querySelectorAll('img[src=x], main b b').length") == 0
