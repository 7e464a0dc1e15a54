"""Views of Python objects: explained predictions and inputs, histories, diagnoses, and `explain --html`."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.explain import scores
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.predictor import PredictionList
from pellucid.run.history import History
from pellucid.studio.messages import pack
from pellucid.studio.pictures import sample
from pellucid.task import task_of
from tests.report.test_browser import browser  # noqa: F401  (a fixture)
from tests.studio.accessibility import serious_faults
from tests.studio.talk import parsed

pytest.importorskip("anywidget", reason="anywidget is not installed")
from pellucid.studio import notebook

WAIT = 60_000  # milliseconds


def cells(number: int) -> Any:
    return sample(f"cells {number}").permute(1, 2, 0).numpy()


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that sends a message to a widget, and returns the answer."""

    def send(widget: Any, kind: str, **fields: Any) -> Any:
        sent: list[bytes] = []
        monkeypatch.setattr(widget, "send", lambda content, buffers: sent.extend(buffers))
        widget._handle_custom_msg({"view": "a"}, [pack(kind, 1, fields, {})])
        header, tensors = parsed(sent[0])
        return {**header, "tensors": tensors}

    return send


@pytest.fixture
def shown(browser: Any, tmp_path: Path) -> Iterator[Any]:  # noqa: F811
    """A function that opens a document in the browser; the page must have no errors."""
    faults: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)

    def show(document: str) -> Any:
        file = tmp_path / "view.html"
        file.write_text(document, encoding="utf-8")
        tab = context.new_page()
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        tab.set_default_timeout(WAIT)
        tab.goto(file.as_uri())
        return tab

    yield show
    context.close()
    assert faults == []


def trained() -> tuple[Model, History, torch.Tensor, torch.Tensor]:
    x = torch.rand(64, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > x[:, 1]).long()
    model = Model(mlp([4, 8, 2]), input_shape=(4,), seed=0)
    return model, model.fit(x, y, epochs=3), x, y


def test_predictions_are_explained(ask: Any) -> None:
    model = Model.load("bccd")
    predictions = model.predict([cells(0), cells(1)])
    widget = notebook.of_predictions(predictions)
    assert ask(widget, "explain.open")["kinds"] == [{"name": "given", "samples": ["picture 0", "picture 1"]}]
    picture = ask(widget, "explain.picture", sample="picture 1")
    assert torch.allclose(picture["tensors"]["scores"], predictions[1].scores.cpu(), atol=1e-5)
    aimed = ask(widget, "explain.aim")
    task = task_of(model)
    asked = task.score_to_explain(model, task.resize_to_input(model, task.predictor(model).frame(sample("cells 1"))))
    assert aimed["score"] == pytest.approx(float(scores(asked.net, asked.params, asked.x, asked.target)), rel=1e-6)
    assert "no picture 'cells 1'" in ask(widget, "explain.picture", sample="cells 1")["message"]
    with pytest.raises(PellucidError):
        notebook.of_predictions(PredictionList())


def test_inputs_are_explained_without_preprocessing(ask: Any) -> None:
    model = Model.load("mnist-lenet")
    x = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    widget = notebook.explain(model, x)
    assert ask(widget, "explain.open")["sample"] == "input 0"
    ask(widget, "explain.picture", sample="input 1")
    assert ask(widget, "explain.aim", of="3")["label"] == "3"
    answer = ask(widget, "explain.run", method="input_x_gradient")
    expected = model.explain(x[1:], "input_x_gradient", 3)[0].sum(0)
    assert torch.allclose(answer["tensors"]["map"], expected, atol=1e-6)


@pytest.mark.real
def test_a_history_is_scrubbed_without_a_kernel(shown: Any) -> None:
    _, history, _, _ = trained()
    tab = shown(notebook.of_history(history).document)
    tab.wait_for_selector("#record-curves svg")
    assert tab.locator("#record-curves h3").all_inner_texts()[0].lower().startswith("loss")
    cell = tab.locator("#record-layers tbody tr >> nth=0").locator("td >> nth=1")
    norms = [row["grad_norm"] for row in history.layers if row["path"] == history.layers[0]["path"]]
    assert float(cell.inner_text()) == pytest.approx(norms[2], rel=0.05)  # shown with two digits
    tab.fill("#record-epoch", "1")
    assert tab.inner_text("#record-at") == "1"
    assert float(cell.inner_text()) == pytest.approx(norms[0], rel=0.05)
    assert not tab.locator(".doctor").is_visible()
    assert serious_faults(tab) == []
    with pytest.raises(PellucidError, match="no finished epoch"):
        notebook.of_history(History())


@pytest.mark.real
def test_a_diagnosis_shows_its_findings(shown: Any) -> None:
    model, _, x, y = trained()
    result = model.doctor(x * float("1e4"), y)
    assert result.findings
    tab = shown(notebook.of_diagnosis(result).document)
    tab.wait_for_selector(".findings li")
    assert tab.locator(".findings li").count() == len(result.findings)
    assert result.findings[0].check.replace("-", " ") in tab.inner_text(".findings")
    assert not tab.locator(".curves").is_visible()
    assert serious_faults(tab) == []


def click_everything(tab: Any) -> None:
    """Click every button that is enabled, and each predicted object in the picture: the file has every answer."""
    assert tab.inner_text("#explain-recorded").startswith("This file explains one score of one picture")
    title = tab.inner_text("#explain-h")
    assert tab.locator("#explain-chips button:disabled, #explain-sheet button:disabled").count() > 1
    for button in tab.locator("button:enabled:visible").all():
        button.click()
        assert not tab.locator("#explain-problem").is_visible()
    box = tab.locator("[data-shot=picture]").bounding_box()
    for x, y in [(0.2, 0.3), (0.5, 0.5), (0.8, 0.7)]:
        tab.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    assert tab.inner_text("#explain-h") == title
    assert not tab.locator("#explain-problem").is_visible()


@pytest.mark.real
def test_an_explanation_is_one_file(tmp_path: Path, shown: Any, capsys: pytest.CaptureFixture[str]) -> None:
    image, file = tmp_path / "<i>x.png", tmp_path / "why.html"
    Image.fromarray(255 - sample("digit 3").permute(1, 2, 0).numpy()).save(image)
    assert main(["explain", "mnist-lenet", str(image), "--html", str(file)]) == 0
    tab = shown(file.read_text("utf-8"))
    tab.wait_for_selector("#explain-relevance tbody tr")
    assert tab.inner_text("#explain-h") == "Why 3?"
    assert tab.locator("#explain-sample").input_value() == image.name
    tab.wait_for_selector("[data-figure=occlusion] canvas")
    tab.click("[data-method=deconvnet]")
    tab.wait_for_selector("[data-figure=deconvnet] canvas")
    assert not any(tab.locator(one).is_visible() for one in ("#explain-model", "#explain-draw", "#explain-next"))
    click_everything(tab)
    for words, message in ((["--method", "lrp"], "without --method"), (["--target", "eleven"], "no 'eleven'")):
        capsys.readouterr()
        assert main(["explain", "mnist-lenet", str(image), "--html", str(file), *words]) == 2
        assert message in capsys.readouterr().err
    assert main(["explain", "mnist-lenet", str(tmp_path), "--html", str(file)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.heavy
@pytest.mark.real
@pytest.mark.parametrize(
    ("model", "what"), [("bccd", "of box 1?"), ("camvid", "?"), ("faces", " of "), ("colorize", " of pixel ")]
)
def test_models_of_every_task_are_explained_in_a_file(model: str, what: str, tmp_path: Path, shown: Any) -> None:
    names = {"bccd": "cells 0", "camvid": "street 0", "faces": "face 0", "colorize": "photo 1"}
    image, file = tmp_path / "x.png", tmp_path / "why.html"
    Image.fromarray(sample(names[model]).permute(1, 2, 0).numpy()).save(image)
    assert main(["explain", model, str(image), "--html", str(file)]) == 0
    assert file.stat().st_size < 20e6
    tab = shown(file.read_text("utf-8"))
    tab.wait_for_selector("[data-figure=occlusion] canvas.over")
    tab.wait_for_selector("#explain-sheet canvas")
    title = tab.inner_text("#explain-h")
    assert (title.startswith("Why "), what in title, title) == (True, True, title)
    click_everything(tab)


def test_skipped_files_have_no_row_and_pickled_predictions_contain_no_model(tmp_path: Path, ask: Any) -> None:
    for k in range(notebook.MAX_PICTURES):
        (tmp_path / f"a{k}.png").write_bytes(b"no picture")
    Image.fromarray(cells(0)).save(tmp_path / "b.png")
    predictions = Model.load("bccd").predict(tmp_path)
    assert ask(notebook.of_predictions(predictions), "explain.open")["kinds"][0]["samples"] == ["b.png"]
    again = pickle.loads(pickle.dumps(predictions))
    assert (again.model, again.argument, len(again), again.skipped.keys()) == (
        None,
        None,
        1,
        predictions.skipped.keys(),
    )
