"""The view Train in a browser, and its trainings when the server is stopped or killed."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pellucid.cli.main import main
from pellucid.recipe.recipe import load_recipe
from pellucid.run.history import read_csv
from pellucid.studio.runs import Runs, process_of
from tests.report.test_browser import FIND_FAULTS, browser  # noqa: F401  (a fixture)
from tests.studio.test_browser import WAIT, press_until, until
from tests.studio.test_command import Started, studio

pytestmark = pytest.mark.real
DOCTOR = 120_000  # milliseconds for an examination, which takes several seconds


class TrainPage:
    """A tab of the studio with the view Train, and its errors and warnings (`faults`)."""

    def __init__(self, browser: Any, served: Started, state: str = "", cookies: Any = None, **options: Any) -> None:  # noqa: F811
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.tab, self.faults = self.context.new_page(), list[str]()
        if cookies is None:
            self.tab.goto(served.address)
            self.tab.wait_for_selector("#views a", timeout=WAIT)
        else:
            self.context.add_cookies(cookies)
        self.tab.on("console", lambda one: self.faults.append(one.text) if one.type in ("error", "warning") else None)
        self.tab.on("pageerror", lambda error: self.faults.append(str(error)))
        self.tab.goto(f"http://{served.host}/#train?{state}")
        self.tab.wait_for_selector("#train-main input", timeout=WAIT)

    def status(self, *names: str) -> None:
        listed = ",".join(f"'{name}'" for name in names)
        until(self.tab, f"[{listed}].includes(document.querySelector('[data-status]')?.dataset.status)")

    def start(self, **settings: str) -> str:
        for name, value in settings.items():
            self.tab.fill(f"[name='{name.replace('__', '.')}']", value)
        self.tab.click("#train-start")
        self.status("starting", "running")
        return self.tab.input_value("#train-run")

    @property
    def step(self) -> int:
        return int(self.tab.inner_text("#train-step"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    Runs(tmp_path).close()


@pytest.mark.heavy
def test_a_view_that_loads_late_does_not_hide_the_one_chosen_since(folder: Path, browser: Any) -> None:  # noqa: F811
    with studio(str(folder)) as served:
        tab, waiting = browser.new_context().new_page(), list[Any]()
        tab.route("**/draw/view.js", lambda one: waiting.append(one))  # noqa: PLW0108  (it sets attributes of the function)
        tab.goto(served.address)
        tab.wait_for_selector("#views a", timeout=WAIT)
        tab.goto(f"http://{served.host}/#train?")
        tab.wait_for_selector("#train-main input", timeout=WAIT)
        with tab.expect_response("**/draw/view.js"):
            waiting[0].continue_()
        tab.wait_for_timeout(1000)
        assert tab.is_visible("#train-main input")
        assert tab.get_attribute("#views [aria-current=page]", "data-view") == "train"
        tab.context.close()


@pytest.mark.heavy
def test_start_pause_step_resume_and_scrub(folder: Path, browser: Any) -> None:  # noqa: F811
    with studio(str(folder)) as served:
        page = TrainPage(browser, served)
        page.start(train__epochs="1")
        page.status("finished")  # one epoch: a dot for the training and one for the held-out data, of each metric
        until(page.tab, "document.querySelectorAll('#train-curves .chart circle.bold').length === 2")
        assert page.tab.locator("#train-curves .chart circle.thin").count() == 2
        run = page.start(train__epochs="4000", optimizer__lr="0.001")
        page.status("running")
        until(page.tab, "document.querySelectorAll('#train-curves .chart .bold').length > 0")
        page.tab.click("[data-action=pause]")
        page.status("paused")
        step = page.step
        page.tab.click("[data-action=step]")
        until(page.tab, f"document.querySelector('#train-step').textContent === '{step + 1}'")
        page.tab.click("[data-action=stop]")
        page.status("stopped")
        page.tab.click("[data-action=resume]")
        page.status("running")
        page.tab.click("[data-action=stop]")
        page.status("stopped")
        page.tab.locator("#train-epoch").fill("2")
        assert page.tab.inner_text("#train-at") == "2"
        until(page.tab, "document.querySelector('#train-picture figcaption').textContent.endsWith('epoch 2')")
        until(page.tab, "document.querySelectorAll('.film [data-film]').length > 16")
        until(page.tab, "document.querySelectorAll('.conf [data-cell]').length === 100")
        page.tab.locator("[data-cell='3,3']").focus()
        page.tab.keyboard.press("ArrowRight")
        assert page.tab.evaluate("document.activeElement.dataset.cell") == "3,4"
        page.tab.click("[data-cell='3,3']")
        until(page.tab, "document.querySelectorAll('.images canvas').length === 24")
        page.tab.reload()
        page.tab.wait_for_selector(".images canvas", timeout=WAIT)
        assert page.tab.inner_text("#train-at") == "2"
        assert page.tab.input_value("#train-run") == run
        assert page.faults == []


@pytest.mark.heavy
def test_a_run_opens_with_its_diagnosis_and_gives_its_settings_to_the_form(folder: Path, browser: Any) -> None:  # noqa: F811
    settings = [
        "train.epochs=3",
        "train.keep=[0,3]",
        "recipe.threads=1",
        "optimizer.lr=0.001",
        "network.sizes=[64,9,10]",
    ]
    assert main(["train", "digits", *settings, "--out", str(folder)]) == 0
    results = json.loads((folder / "digits-1" / "results.json").read_text())
    accuracies = [f"{100 * one['accuracy']:.2f} %" for one in (results, results["baseline"])]
    counts = json.loads((folder / "digits-1" / "confusion.json").read_text())["counts"]
    with studio(str(folder)) as served:
        page = TrainPage(browser, served, "run=digits-1")
        tab = page.tab
        tab.wait_for_selector("#train-verdict b", timeout=DOCTOR)
        assert all(accuracy in tab.inner_text("#train-verdict") for accuracy in accuracies)
        tab.wait_for_selector(".conf [data-cell]", timeout=WAIT)
        texts = tab.locator(".conf [data-cell]").all_inner_texts()
        assert [int(text or 0) for text in texts] == [count for row in counts for count in row]
        assert "100 % right" in tab.inner_text("#train-conf .legend")
        tab.click("#train-use")
        until(tab, "document.querySelector('[name=\"optimizer.lr\"]').value === '0.001'")
        assert tab.input_value("[name='train.epochs']") == "3"
        assert tab.input_value("[name='network.sizes']") == "[64, 9, 10]"
        assert page.faults == []


@pytest.mark.heavy
def test_a_finding_is_applied_to_the_form_by_one_click(folder: Path, browser: Any) -> None:  # noqa: F811
    settings = ["train.epochs=7", "recipe.threads=1", "optimizer.name=sgd", "optimizer.lr=1e-7"]
    assert main(["train", "digits", *settings, "--out", str(folder)]) == 0
    with studio(str(folder)) as served:
        page = TrainPage(browser, served, "run=digits-1")
        tab = page.tab
        tab.wait_for_selector(".findings [data-apply]", timeout=DOCTOR)
        cause = tab.locator(".findings li", has=tab.locator("[data-apply]")).first
        assert "Learning rate too low" in cause.inner_text()
        consequences = tab.locator(".findings li", has=tab.locator(".kind:text('Consequence'), .kind:text('Symptom')"))
        assert consequences.count() > 0
        assert consequences.locator("[data-apply]").count() == 0
        assert "set=" not in tab.url
        assert tab.input_value("[name='train.epochs']") == "40"  # the form has the recipe, not yet the run
        cause.locator("[data-apply]").click()
        until(tab, "document.querySelector('[name=\"train.epochs\"]').value === '7'")
        until(tab, "document.activeElement.name === 'optimizer.lr'")
        rate = float(tab.input_value("[name='optimizer.lr']"))
        assert f"to about {rate:.2g}" in cause.inner_text()
        assert rate > 1e-4
        assert tab.input_value("[name='optimizer.name']") == "sgd"
        tab.fill("[name='train.batch_size']", "16")  # a change of the person's own, which the next click keeps
        tab.fill("[name='optimizer.lr']", "1")
        cause.locator("[data-apply]").click()
        until(tab, f"Number(document.querySelector('[name=\"optimizer.lr\"]').value) === {rate}")
        assert tab.input_value("[name='train.batch_size']") == "16"
        assert [path.name for path in folder.iterdir()] == ["digits-1"]  # nothing was started
        assert page.faults == []


@pytest.mark.heavy
def test_a_training_of_the_command_line_is_steered_from_the_page(folder: Path, browser: Any) -> None:  # noqa: F811
    with studio(str(folder)) as served:
        page = TrainPage(browser, served)
        tab = page.tab
        command = [sys.executable, "-m", "pellucid", "train", "digits", "train.epochs=20000", "optimizer.lr=0.001"]
        options = ["schedule.name=constant", "--out", str(folder)]
        training = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
        try:
            until(tab, "document.querySelector('#train-run').value === 'digits-1'")  # without a reload
            page.status("running")
            until(tab, "document.querySelectorAll('#train-curves .chart .bold').length > 0")
            assert tab.input_value("#train-rate") == "1"
            tab.fill("#train-rate", "0.25")
            tab.press("#train-rate", "Enter")
            until(tab, "document.querySelector('#train-lr').textContent === '0.00025'")
            tab.click("[data-action=pause]")
            page.status("paused")
            step = page.step
            tab.wait_for_timeout(500)
            assert page.step == step
            tab.click("[data-action=step]")
            until(tab, f"document.querySelector('#train-step').textContent === '{step + 1}'")
            text = "document.querySelector('#train-status').textContent"
            assert "factor 0.25 included" in tab.evaluate(text)
            for factor, number in ((0.5, 2), (0.75, 3)):
                tab.fill("#train-rate", str(factor))
                tab.press("#train-rate", "Enter")
                until(tab, f"{text}.includes('factor {factor} from the next step on')")
                tab.click("[data-action=step]")
                until(tab, f"document.querySelector('#train-step').textContent === '{step + number}'")
                assert f"factor {factor} included" in tab.evaluate(text)
            tab.click("[data-action=go]")
            until(tab, f"Number(document.querySelector('#train-step')?.textContent) > {step + 100}")
            tab.fill("#train-rate", "-1")
            tab.press("#train-rate", "Enter")
            tab.wait_for_selector("#train-problem:visible", timeout=WAIT)
            assert "rate must be above 0" in tab.inner_text("#train-problem")
            tab.click("[data-action=stop]")
            page.status("stopped")
            _, errors = training.communicate(timeout=60)
        finally:
            training.kill()
        assert training.returncode == 130
        assert "learning rate times 0.25" in errors
        assert (folder / "digits-1" / "weights" / "last.safetensors").is_file()
        rows = read_csv(folder / "digits-1" / "metrics.csv")
        assert (float(rows[0]["lr"]), float(rows[-1]["lr"])) == (0.001, 0.00075)
        assert not tab.is_visible("#train-rate")
        assert page.faults == []


@pytest.mark.heavy
def test_a_training_is_set_started_scrubbed_and_explained_by_keys_alone(folder: Path, browser: Any) -> None:  # noqa: F811
    with studio(str(folder)) as served:
        page = TrainPage(browser, served)
        tab, keys = page.tab, page.tab.keyboard
        press_until(tab, "[name='train.epochs']")
        keys.press("Control+a")
        keys.type("30000")
        press_until(tab, "#train-start")
        keys.press("Enter")
        page.status("running")
        press_until(tab, "[data-action=pause]")
        keys.press("Enter")
        page.status("paused")
        press_until(tab, "[data-action=step]")
        step = page.step
        keys.press("Space")
        until(tab, f"document.querySelector('#train-step').textContent === '{step + 1}'")
        press_until(tab, "[data-action=stop]")
        keys.press("Enter")
        page.status("stopped")
        press_until(tab, "#train-epoch")
        keys.press("Home")
        keys.press("ArrowRight")
        assert tab.inner_text("#train-at") == "1"
        until(tab, "document.querySelectorAll('.conf [data-cell]').length === 100")
        press_until(tab, ".conf [data-cell]")
        keys.press("ArrowRight")
        keys.press("Enter")
        tab.wait_for_selector("#train-cell :is(canvas, p)", timeout=WAIT)
        press_until(tab, "#train-elsewhere [data-k=to-explain]")
        keys.press("Enter")
        tab.wait_for_selector("#explain-rel-h:visible", timeout=WAIT)
        until(tab, f"document.querySelector('#explain-model')?.value === '{tab.input_value('#train-run')}'")
        until(tab, "document.querySelectorAll('#explain-relevance tr, #explain-relevance li').length > 0")
        assert page.faults == []


@pytest.mark.heavy
def test_a_training_outlives_a_killed_server_and_ends_with_the_next(folder: Path, browser: Any) -> None:  # noqa: F811
    with studio(str(folder)) as served:
        run = TrainPage(browser, served).start(train__epochs="20000")
        while not (folder / run / "metrics.csv").exists():
            time.sleep(0.05)
        served.process.send_signal(signal.SIGKILL)
    process = process_of(folder / run)
    assert process is not None
    with studio(str(folder)) as served:
        page = TrainPage(browser, served)
        assert page.tab.input_value("#train-run") == run
        page.status("running")
        assert process_of(folder / run) == process
    assert process_of(folder / run) is None
    assert (folder / run / "weights" / "last.safetensors").exists()
    assert "resume" in (folder / run / "train.log").read_text()


@pytest.mark.heavy
def test_settings_are_changed_and_the_doctor_runs_during_the_training(
    folder: Path,
    browser: Any,  # noqa: F811
) -> None:
    with studio(str(folder)) as served:
        page = TrainPage(browser, served)
        tab = page.tab
        tab.fill("[name='train.epochs']", "100000")
        tab.select_option("[name='optimizer.name']", "momentum")
        until(tab, "document.querySelector('#train-about').textContent.includes('optimizer momentum')")
        assert tab.input_value("[name='train.epochs']") == "100000"  # other fields keep their input
        assert tab.locator("[name='optimizer.beta1']").count() == 0
        tab.click("#train-rest >> xpath=.. >> summary")
        tab.fill("[name='network.sizes']", "[64, ten]")
        tab.click("#train-start")
        tab.wait_for_selector("#train-problem:visible", timeout=WAIT)
        assert "sizes" in tab.inner_text("#train-problem")
        tab.fill("[name='network.sizes']", "[64, 12, 10]")
        tab.fill("[name='optimizer.lr']", "1e-7")
        tab.check("[name='data.standardize']")
        tab.select_option("[name='train.monitor']", "val_loss")
        tab.keyboard.press("Tab")
        tab.reload()  # the address restores the form
        tab.wait_for_selector("[name='optimizer.name']", timeout=WAIT)
        assert tab.input_value("[name='network.sizes']") == "[64, 12, 10]"
        run = page.start()
        recipe = load_recipe(folder / run)
        assert (recipe.optimizer.name, recipe.optimizer.arguments["lr"]) == ("momentum", 1e-7)
        assert recipe.network.arguments["sizes"] == (64, 12, 10)
        assert (recipe.data.standardize, recipe.train.monitor) == (True, "val_loss")
        page.status("running")
        until(tab, "document.querySelector('#train-step') && document.querySelectorAll('#train-curves .bold').length")
        tab.click("[data-action=pause]")
        page.status("paused")
        until(tab, "document.querySelector('#train-findings').textContent.includes('learning rate too low')", DOCTOR)
        assert "the training goes on" in tab.inner_text("#train-examined")
        page.status("paused")
        tab.click("#train-reset")
        until(tab, "document.querySelector('#train-about').textContent.includes('optimizer adam')")
        assert "set=" not in tab.url
        assert page.faults == []


@pytest.mark.heavy
def test_an_invalid_setting_is_reported_in_one_line_and_runs_are_compared(folder: Path, browser: Any) -> None:  # noqa: F811
    with studio(str(folder)) as served:
        page = TrainPage(browser, served)
        page.tab.fill("[name='optimizer.lr']", "-1")
        page.tab.click("#train-start")
        page.tab.wait_for_selector("#train-problem:not([hidden])", timeout=WAIT)
        assert "lr" in page.tab.inner_text("#train-problem")
        first = page.start(train__epochs="5", optimizer__lr="0.01")
        page.status("finished")
        second = page.start(train__epochs="6", optimizer__lr="0.001")
        page.status("finished")
        assert first != second
        for run, epochs in ((first, 5), (second, 6), (first, 5), (second, 6)):
            page.tab.select_option("#train-run", run)
            until(page.tab, f"document.querySelector('#train-status').textContent.includes('of {epochs} epochs')")
            until(page.tab, "document.querySelectorAll('#train-curves .chart').length > 0")
            page.tab.wait_for_timeout(1000)  # longer than the interval between two requests to the doctor
        page.tab.locator("#train-with summary").click()
        page.tab.check(f"[data-other='{first}']")
        until(page.tab, "document.querySelectorAll('.compared').length === 2")
        assert page.tab.locator("#train-curves path.run1").count() == 2
        assert "optimizer.lr" in page.tab.inner_text("#train-compared")
        until(
            page.tab, "document.querySelector('#train-findings').textContent.includes('learning rate too low')", DOCTOR
        )
        for width, colours in ((1280, "dark"), (390, "light")):
            state = page.tab.url.partition("?")[2]
            options: dict[str, Any] = {"viewport": {"width": width, "height": 900}, "color_scheme": colours}
            other = TrainPage(browser, served, state, page.context.cookies(), **options)
            other.tab.wait_for_selector(".conf [data-cell]", timeout=WAIT)
            until(other.tab, "document.querySelectorAll('.compared').length === 2")
            assert other.tab.evaluate(FIND_FAULTS) == []
            assert other.faults == []
