"""The view Inspect in a browser: opening of run folders, the ledger, the layers and groups, and export to a file."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pellucid.cli.main import main
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.nested import leaves
from tests.report.test_browser import browser  # noqa: F401  (a fixture)
from tests.studio.accessibility import serious_faults
from tests.studio.test_browser import WAIT, until
from tests.studio.test_command import studio

pytestmark = pytest.mark.real


@pytest.mark.heavy
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
        assert shown == sum(leaf.numel() for leaf in leaves(model.params))
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
        assert tab.inner_text("#inspect-name") == second  # the address restores the view
        tab.close()
    assert not faults


@pytest.mark.heavy
def test_a_run_of_the_folder_is_chosen(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    run = tmp_path / "own-1"
    (run / "weights").mkdir(parents=True)
    (run / "recipe.toml").touch()
    Model(mlp((784, 30, 10), "relu"), input_shape=(1, 28, 28)).save(run / "weights/last.safetensors")
    with studio(str(tmp_path)) as started:
        tab = browser.new_page()
        tab.goto(started.address)
        tab.wait_for_selector("#views a[aria-current]", timeout=WAIT)
        tab.click("#views a[data-view=inspect]")
        tab.wait_for_selector("#inspect-inside canvas[data-values]", timeout=WAIT)
        tab.select_option("#inspect-model", "own-1")
        until(tab, "document.querySelector('#inspect-parameters').textContent.replace(/\\D/g, '') === '23860'")
        tab.reload()
        tab.wait_for_selector("#inspect-kinds button", timeout=WAIT)
        assert tab.input_value("#inspect-model") == "own-1"
        tab.close()


@pytest.mark.heavy
def test_a_detector_runs_on_its_large_picture_and_on_an_upload(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    Image.new("RGB", (60, 40), "white").save(tmp_path / "own.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with studio("bccd") as started:
        tab = browser.new_page()
        faults: list[str] = []
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.goto(started.address)
        tab.wait_for_selector("#views a[aria-current]", timeout=WAIT)
        tab.click("#views a[data-view=inspect]")
        tab.wait_for_selector("#inspect-inside canvas[data-values]", timeout=WAIT)
        assert tab.is_hidden("#inspect-problem")
        assert tab.evaluate("document.querySelector('#inspect-x').width") == 320
        tab.set_input_files("#inspect-file", tmp_path / "broken.png")
        tab.wait_for_selector("#inspect-problem:visible", timeout=WAIT)
        assert "no PNG, JPEG, WebP" in tab.inner_text("#inspect-problem")
        assert "bundled picture" in tab.inner_text("#inspect-x-cap")
        tab.click("[data-kind=maps]")
        tab.set_input_files("#inspect-file", tmp_path / "own.png")
        until(tab, "document.querySelector('#inspect-x-cap').textContent.startsWith('It ran on upload 1, as 3\u00d7')")
        assert tab.is_hidden("#inspect-problem")
        tab.wait_for_selector("#inspect-inside canvas[data-values]", timeout=WAIT)
        # The picture is white, so a map is constant except near its borders.
        spread = "(() => { const c = document.querySelector('.loupe canvas'), g = c.getContext('2d').getImageData(c.width >> 1, c.height >> 1, 4, 4).data; return new Set(new Uint32Array(g.buffer)).size; })()"  # noqa: E501
        assert tab.evaluate(spread) == 1
        tab.reload()
        until(tab, "document.querySelector('#inspect-x-cap')?.textContent.startsWith('It ran on upload 1')")
        tab.click("#inspect-bundled")
        until(tab, "document.querySelector('#inspect-x-cap').textContent.includes('bundled picture')")
        tab.goto(f"http://{started.host}/#inspect?upload=u77")
        tab.wait_for_selector("#inspect-problem:visible", timeout=WAIT)
        assert "no upload 'u77'" in tab.inner_text("#inspect-problem")
        assert "bundled picture" in tab.inner_text("#inspect-x-cap")
        tab.close()
    assert not faults


@pytest.mark.heavy
def test_an_address_of_a_missing_model_opens_the_first_with_a_note(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    with studio(str(tmp_path)) as started:
        tab = browser.new_page()
        tab.goto(started.address)
        tab.wait_for_selector("#views a[aria-current]", timeout=WAIT)
        tab.goto(f"http://{started.host}/#inspect?model=gone-7")
        until(tab, "document.querySelector('#inspect-model')?.options.length > 1")
        until(tab, "document.querySelector('#inspect-problem').textContent === \"no model 'gone-7'\"")
        assert tab.is_visible("#inspect-problem")
        tab.close()


@pytest.mark.heavy
def test_a_model_is_written_into_one_file(browser: Any, tmp_path: Path, capsys: Any) -> None:  # noqa: F811
    file = tmp_path / "layers.html"
    assert main(["summary", "mnist-lenet", "--html", str(file)]) == 0
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    tab, faults = context.new_page(), list[str]()
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.goto(file.as_uri())
    tab.wait_for_selector("#inspect-inside canvas[data-values]", timeout=WAIT)
    assert tab.inner_text("#inspect-h") == "mnist-lenet"
    assert not any(tab.is_visible(one) for one in ("#inspect-model", "#inspect-file"))
    layers = tab.locator("button.lrow[data-layer]")
    assert layers.count() == 12
    for k in range(layers.count()):
        layers.nth(k).click()
        for kind in tab.locator("[data-kind]").all():
            kind.click()
            until(tab, "document.querySelector('#inspect-inside').textContent !== '…'")
            assert tab.is_hidden("#inspect-problem"), tab.inner_text("#inspect-problem")
        assert tab.get_attribute("#inspect-verdict", "data-ok") == "true"
    tab.click("[data-layer='features.conv2']")
    tab.click("[data-kind=filters]")
    tab.select_option("#inspect-channel", "5")
    until(tab, "document.querySelectorAll('#inspect-inside [data-tile]').length === 16")
    weight = Model.load("mnist-lenet").params["features"]["conv2"]["weight"][0, 5]
    shown = tab.inner_text(".loupe p").replace("\u2212", "-")
    assert f"Largest magnitude {float(weight.abs().max()):.3g}" in shown
    assert f"mean {float(weight.mean()):.3g}" in shown
    tab.click("[data-layer='head.dense1']")  # reads 16 maps
    tab.click("[data-kind=filters]")
    tab.select_option("#inspect-channel", "15")
    until(tab, "document.querySelectorAll('#inspect-inside [data-tile]').length === 120")
    assert tab.is_hidden("#inspect-problem")
    for words, message in (
        (["digits"], "digits is a recipe without trained weights"),
        (["mnist-lenet", "--input", "1x32x32"], "without settings and --input"),
    ):
        capsys.readouterr()
        assert main(["summary", *words, "--html", str(file)]) == 2
        assert message in capsys.readouterr().err
    assert faults == []
    assert serious_faults(tab) == []
    context.close()


@pytest.mark.heavy
def test_groups_fold_and_keep_their_totals(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    with studio("vit-tiny") as started:
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(started.address)
        tab.wait_for_selector("#views a[aria-current]", timeout=WAIT)
        tab.goto(f"http://{started.host}/#inspect?model=vit-tiny")
        tab.wait_for_selector("#inspect-inside canvas[data-values]", timeout=WAIT)
        groups, rows = tab.locator("button.lrow[data-group]"), tab.locator("button.lrow[data-layer]")
        count, total = rows.count(), tab.inner_text("#inspect-parameters")
        block = groups.filter(has_text="features.block1")
        assert "19 layers" in block.inner_text()
        assert block.get_attribute("aria-expanded") == "false"
        block.click()
        assert rows.count() == count + 19
        assert groups.filter(has_text="features.block1").get_attribute("aria-expanded") == "true"
        groups.filter(has_text="features.block1").focus()
        tab.keyboard.press("Enter")
        assert rows.count() == count
        assert tab.inner_text("#inspect-parameters") == total
        tab.close()
