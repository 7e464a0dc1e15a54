"""The view Train in a browser for tasks other than classification: their pictures of each epoch."""

from collections.abc import Iterator
from typing import Any

import pytest

from pellucid.cli.main import main
from pellucid.data.samples.files import write_samples
from tests.cli.test_train_own import coco
from tests.report.test_browser import FIND_FAULTS, browser  # noqa: F401  (a fixture)
from tests.studio.accessibility import serious_faults
from tests.studio.test_browser import WAIT, until
from tests.studio.test_command import Started, studio
from tests.studio.test_train_browser import TrainPage

pytestmark = pytest.mark.real
EPOCHS = ["train.epochs=2", "train.keep=[0,1,2]", "recipe.threads=1"]


@pytest.fixture(scope="module")
def served(
    browser: Any,  # noqa: F811  (first, since without a browser nothing need be trained)
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Started, dict[str, str]]]:
    """A studio of a folder with finished runs, and the name of the run of each task."""
    root = tmp_path_factory.mktemp("tasks")
    write_samples(root / "try")
    (root / "outlines").mkdir()
    commands = {
        "detect": ["detect", str(root / "try" / "cells"), "data.size=160"],
        "masks": ["detect", str(coco(root / "outlines", points=False)), "data.size=96"],
        "segment": ["segment", str(root / "try" / "street"), "data.size=160"],
        "keypoints": ["keypoints", str(root / "try" / "faces"), "data.size=64"],
        "colorize": ["colorize", str(root / "try" / "shapes"), "data.size=32"],
        "generate": ["mnist-dcgan", "data.name=digits", "objective.size=8"],
    }
    runs = dict[str, str]()
    for task, words in commands.items():
        before = set((root / "runs").glob("*"))
        assert main(["train", *words, *EPOCHS, "--out", str(root / "runs")]) == 0
        (run,) = set((root / "runs").glob("*")) - before
        runs[task] = run.name
    with studio(str(root / "runs")) as started:
        yield started, runs


@pytest.fixture(scope="module")
def cookies(served: tuple[Started, dict[str, str]], browser: Any) -> Any:  # noqa: F811
    context = browser.new_context()
    page = context.new_page()
    page.goto(served[0].address)
    page.wait_for_selector("#views a", timeout=WAIT)
    result = context.cookies()
    context.close()
    return result


SHOWN = "document.querySelector('#train-picture img')"
PIXELS = f"""(() => {{
  const canvas = document.createElement("canvas"), image = {SHOWN};
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL();
}})()"""


@pytest.mark.parametrize(
    "task", [*(pytest.param(task, marks=pytest.mark.heavy) for task in ("detect", "masks", "segment")), "keypoints",
             "colorize"]
)  # fmt: skip
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), pytest.param(390, "dark", marks=pytest.mark.heavy)])
@pytest.mark.heavy
def test_the_pictures_of_a_task_follow_the_epoch(
    task: str,
    width: int,
    scheme: str,
    served: tuple[Started, dict[str, str]],
    cookies: Any,
    browser: Any,  # noqa: F811
) -> None:
    viewport = {"width": width, "height": 900}
    page = TrainPage(browser, served[0], f"run={served[1][task]}", cookies, viewport=viewport, color_scheme=scheme)
    tab = page.tab
    page.status("finished")
    until(tab, f"{SHOWN} && {SHOWN}.complete && {SHOWN}.naturalWidth > 90")
    pictures = dict[str, str]()
    for epoch in ("1", "2"):
        tab.locator("#train-epoch").fill(epoch)
        until(tab, f"document.querySelector('#train-picture figcaption').textContent.endsWith('epoch {epoch}')")
        until(tab, f"{SHOWN}.complete && {SHOWN}.naturalWidth > 90")
        pictures[epoch] = tab.evaluate(PIXELS)
    assert pictures["1"] != pictures["2"]  # predictions differ between epochs
    until(tab, "document.querySelectorAll('#train-curves .chart').length > 0")
    assert tab.locator(".conf").count() == 0  # no confusion matrix without classes of pictures
    assert serious_faults(tab) == []
    until(tab, f"({FIND_FAULTS})().length === 0", wait=20_000)
    assert page.faults == []
    page.context.close()


def test_the_samples_of_a_generator_follow_the_epoch(
    served: tuple[Started, dict[str, str]],
    cookies: Any,
    browser: Any,  # noqa: F811
) -> None:
    page = TrainPage(browser, served[0], f"run={served[1]['generate']}", cookies)
    tab = page.tab
    page.status("finished")
    until(tab, "document.querySelectorAll('[data-sample]').length > 8")
    sample = "document.querySelector('[data-sample]').toDataURL()"
    read_all = "[...document.querySelectorAll('[data-sample]')].map(one => one.toDataURL())"
    last = tab.evaluate(read_all)
    tab.locator("#train-epoch").fill("0")
    until(tab, f"{sample} !== '{last[0]}'")
    first = tab.evaluate(read_all)
    assert len(set(last)) == len(last)  # every sample has its own random input
    assert all(one != other for one, other in zip(first, last, strict=True))
    assert page.faults == []
    page.context.close()
