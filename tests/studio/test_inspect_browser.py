"""The view Inspect in a browser: a run folder is opened, and its ledger and its layers are read."""

from pathlib import Path
from typing import Any

import pytest

from pellucid.cli.main import main
from pellucid.model import Model
from pellucid.nested import leaves
from tests.report.test_browser import browser  # noqa: F401  (a fixture)
from tests.studio.test_browser import WAIT
from tests.studio.test_command import studio

pytestmark = pytest.mark.real


def test_a_run_folder_is_opened_and_read(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    assert main(["train", "digits", "train.epochs=1", "recipe.threads=1", "--out", str(tmp_path)]) == 0
    run = tmp_path / "digits-1"
    model = Model.load(str(run))
    shapes = [list(one.shape) for one in model.params["features"].values() for one in one.values()]
    with studio(str(run)) as started:
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        faults: list[str] = []
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.goto(started.address)
        tab.wait_for_selector("#views a[aria-current]", timeout=WAIT)
        tab.click("#views a[data-view=inspect]")
        tab.wait_for_selector("#inspect-inside canvas[data-values]", timeout=WAIT)
        assert tab.input_value("#inspect-model") == str(run)
        shown = int("".join(c for c in tab.inner_text("#inspect-parameters") if c.isdigit()))
        assert shown == sum(one.numel() for one in leaves(model.params))
        assert "\u00d7".join(map(str, shapes[0])) in tab.inner_text("#inspect-about")
        tab.click("[data-kind=verify]")
        tab.wait_for_selector("#inspect-verdict[data-ok=true]", timeout=WAIT)
        first = tab.locator("button.lrow[data-layer]").first
        first.focus()
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("Enter")
        second = tab.locator("button.lrow[data-layer]").nth(1).get_attribute("data-layer")
        assert tab.inner_text("#inspect-name") == second
        tab.reload()
        tab.wait_for_selector("#inspect-kinds button", timeout=WAIT)
        assert tab.inner_text("#inspect-name") == second  # the address keeps the view
        tab.close()
    assert not faults
