"""Views of the studio in notebooks, in JupyterLab and in files show the numbers of the trace."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.model import Model
from pellucid.studio.draw import DRAW, DrawSession
from pellucid.studio.embedded import document, recorded
from pellucid.studio.messages import pack
from pellucid.studio.session import Session
from pellucid.studio.view import Library
from tests.report.test_browser import browser  # noqa: F401  (a fixture)
from tests.studio.talk import parsed

WAIT = 60_000  # milliseconds
CHECKED = ".check:not([data-numeric=''])"
LAB = shutil.which(os.environ.get("JUPYTER_LAB", "jupyter-lab"))
CODE = """
import torch
from pellucid import Model
from pellucid.models import mlp
from pellucid.studio.pictures import sample
x = torch.zeros(1, 1, 28, 28)
x[0, 0, 4:24, 13:16] = 1
display(Model.load("mnist-mlp-100").trace(x, [1]))
display(Model.load("bccd").predict(sample("cells 0").permute(1, 2, 0).numpy()))
x = torch.rand(64, 4)
y = (x[:, 0] > x[:, 1]).long()
model = Model(mlp([4, 8, 2]), input_shape=(4,))
display(model.fit(x, y, epochs=3))
model.doctor(x * 1e4, y)
"""


def stroke() -> torch.Tensor:
    x = torch.zeros(1, 1, 28, 28)
    x[0, 0, 4:24, 13:16] = 1
    return x


def test_a_widget_answers_with_the_numbers_of_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("anywidget", reason="anywidget is not installed")
    from pellucid.studio.notebook import of_trace

    trace = Model.load("mnist-lenet").trace(stroke(), [1])
    widget = of_trace(trace)
    sent: list[bytes] = []
    monkeypatch.setattr(widget, "send", lambda content, buffers: sent.extend(buffers))
    subject = "features.conv1.weight[0, 0, 2, 2]"
    for kind, fields in (("draw.open", {}), ("draw.run", {"label": 1}), ("draw.explain", {"what": subject})):
        widget._handle_custom_msg({"view": "a"}, [pack(kind, 1, fields, {})])
    _, run, explained = (parsed(one)[0] for one in sent)
    assert run["cost"] == pytest.approx(trace.cost, abs=1e-12)
    assert explained["gradient"] == pytest.approx(
        float(trace.gradients["features.conv1.weight"][0, 0, 2, 2]), abs=1e-12
    )


def test_each_view_of_a_widget_has_a_session_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("anywidget", reason="anywidget is not installed")
    from pellucid.studio.notebook import of_trace

    trace = Model.load("mnist-lenet").trace(stroke(), [3])
    widget = of_trace(trace)
    sent: list[tuple[str, float]] = []
    monkeypatch.setattr(widget, "send", lambda content, buffers: sent.append((content["view"], cost_in(buffers[0]))))

    def cost_in(answer: bytes) -> float:
        return parsed(answer)[0].get("cost", 0.0)

    def ask(view: str, kind: str, **fields: Any) -> float:
        widget._handle_custom_msg({"view": view}, [pack(kind, 1, fields, {})])
        assert sent[-1][0] == view
        return sent[-1][1]

    for view in "ab":
        assert ask(view, "draw.run", label=3) == pytest.approx(trace.cost, abs=1e-12)
    ask("a", "draw.step", rate=0.1)
    assert ask("a", "draw.run", label=3) < trace.cost - 0.01
    assert ask("b", "draw.run", label=3) == pytest.approx(trace.cost, abs=1e-12)
    widget._handle_custom_msg({"view": "a"}, [])  # closed; a reopened view starts with the original weights
    assert ask("a", "draw.run", label=3) == pytest.approx(trace.cost, abs=1e-12)


@pytest.mark.real
def test_a_file_shows_the_recorded_answers(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    library = Library(("mnist-lenet",), Model.load)
    session = Session(library, {"draw": DrawSession(library, stroke().double())})
    subject = "features.conv1.weight[0, 0, 2, 2]"
    requests = [("draw.open", {}), ("draw.run", {"label": 3}), ("draw.explain", {"what": subject})]
    requests += [("draw.check", {"what": subject, "eps": 1e-4}), ("draw.weights", {"path": "features.conv1", "row": 0})]
    answers = recorded(session, requests)
    page = tmp_path / "draw.html"
    page.write_text(document(DRAW, {"fixed": "1", "label": "3", "what": subject}, answers), encoding="utf-8")
    tab = browser.new_page()
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.goto(page.as_uri())
    tab.wait_for_selector(CHECKED, timeout=WAIT)
    shown = float(tab.locator(".check").get_attribute("data-numeric"))
    assert shown == pytest.approx(
        float(session.sessions["draw"].traced.gradients["features.conv1.weight"][0, 0, 2, 2]), rel=1e-4
    )
    tab.close()
    assert not faults


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab with a notebook of CODE, whose kernel is this interpreter."""
    if LAB is None:
        pytest.skip("JupyterLab is not installed; set JUPYTER_LAB to the jupyter-lab of another environment")
    kernel = tmp_path / "kernels" / "own" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(
        json.dumps(
            {
                "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": "own",
                "language": "python",
            }
        )
    )
    cell = {"cell_type": "code", "id": "a", "source": CODE, "metadata": {}, "outputs": [], "execution_count": None}
    about = {"kernelspec": {"name": "own", "display_name": "own", "language": "python"}}
    notebook = {"cells": [cell], "metadata": about, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "trace.ipynb").write_text(json.dumps(notebook))
    command = [LAB, "--allow-root", "--no-browser", "--port=0", "--IdentityProvider.token=t"]
    environment = {
        **os.environ, "JUPYTER_PATH": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": os.getcwd(),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
    }  # fmt: skip
    process = subprocess.Popen(
        [*command, f"--ServerApp.root_dir={tmp_path / 'work'}"], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        yield started(tmp_path / "runtime")
    finally:
        process.terminate()
        process.wait(30)


def started(runtime: Path) -> str:
    """Wait until a server has written its address and answers; return the address."""
    end = time.monotonic() + WAIT / 1000
    while time.monotonic() < end:
        for place in runtime.glob("jpserver-*.json"):
            address = json.loads(place.read_text())["url"]
            try:
                urllib.request.urlopen(f"{address}api?token=t")
            except urllib.error.URLError:
                break
            return address
        time.sleep(0.2)
    raise AssertionError("JupyterLab did not start")


@pytest.mark.heavy
@pytest.mark.real
def test_a_notebook_in_jupyterlab_shows_the_widgets(lab: str, browser: Any) -> None:  # noqa: F811
    pytest.importorskip("anywidget", reason="anywidget is not installed")
    context = browser.new_context(viewport={"width": 1400, "height": 1600})
    page = context.new_page()
    page.goto(f"{lab}lab/tree/trace.ipynb?token=t")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=WAIT)
    run(page)
    view = page.frame_locator("iframe[title=Draw]")
    view.locator(CHECKED).wait_for(timeout=WAIT)
    assert view.locator("#read").inner_text() == "1"
    cost = Model.load("mnist-mlp-100").trace(stroke(), [1]).cost
    assert float(view.locator("#cost-value").inner_text()) == pytest.approx(cost, rel=5e-3)  # shown with three digits
    why = page.frame_locator("iframe[title=Explain]")
    why.locator("[data-place] >> nth=3").click(timeout=WAIT)
    why.locator("#explain-h", has_text="of box 4?").wait_for(timeout=WAIT)
    page.frame_locator("iframe[title=History]").locator("#record-curves svg >> nth=0").wait_for(timeout=WAIT)
    page.frame_locator("iframe[title=Doctor]").locator(".findings li >> nth=0").wait_for(timeout=WAIT)
    context.close()


def run(page: Any) -> None:
    """Run the notebook once its kernel has started; before, JupyterLab ignores requests or shows a dialog."""
    widget, dialog = page.locator("iframe[title=Draw]"), page.locator(".jp-Dialog .jp-mod-accept")
    end = time.monotonic() + WAIT / 1000
    while not widget.is_visible() and time.monotonic() < end:
        if dialog.is_visible():
            dialog.click()
        elif page.locator(".jp-InputPrompt").first.inner_text().strip() == "[ ]:":
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.wait_for_timeout(2000)
