"""Notebooks without widgets show predictions and histories as pictures."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image

from pellucid import Model
from pellucid.predictor import PredictionList
from pellucid.run.history import History
from pellucid.studio import display
from pellucid.studio.pictures import sample
from pellucid.studio.stills import MAX_STILLS, SIDE, stills
from tests.studio.test_results import trained


def decoded(page: str) -> list[Image.Image]:
    sources = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(source))) for source in sources]


@pytest.mark.parametrize(
    ("model", "name", "drawn"),
    [
        ("mnist-lenet", "digit 3", 0.0),
        ("bccd", "cells 0", 0.01),
        ("pennfudan", "people 0", 0.01),
        ("camvid", "street 0", 0.5),
        ("faces", "face 0", 0.005),
        ("colorize", "photo 0", 0.05),
    ],
)
def test_predictions_of_every_task_are_drawn_over_their_picture(model: str, name: str, drawn: float) -> None:
    picture = sample(name)
    predictions = Model.load(model).predict(picture.permute(1, 2, 0).numpy())
    page = stills(predictions)
    assert page is not None
    (still,) = decoded(page)
    assert predictions[0].line in page
    original = Image.fromarray(picture.permute(1, 2, 0).numpy())
    if max(original.size) > SIDE:
        original = original.resize(still.size, Image.Resampling.BOX)
    same = np.asarray(original.resize(still.size), dtype=float) - np.asarray(still.convert("RGB"), dtype=float)
    assert (np.abs(same).max(-1) > 40).mean() >= drawn
    if not drawn:
        assert np.array_equal(same, np.zeros_like(same))


def test_the_first_pictures_are_shown_and_only_text_if_files_are_missing(tmp_path: Path) -> None:
    for k in range(MAX_STILLS + 2):
        Image.fromarray(sample(f"digit {k}").permute(1, 2, 0).numpy()).save(tmp_path / f"<b>{k:02}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    predictions = Model.load("mnist-lenet").predict(str(tmp_path))
    page = stills(predictions)
    assert page is not None
    assert len(decoded(page)) == MAX_STILLS
    assert f"{MAX_STILLS + 2} predictions; the first {MAX_STILLS}" in page
    assert "<b>" not in page.partition("</style>")[2]
    predictions.reverse()
    reversed_page = stills(predictions)
    assert reversed_page is not None
    shown = [np.asarray(one) for one in decoded(reversed_page)]
    for prediction, still in zip(predictions, shown, strict=False):  # the order of pictures is that of the predictions
        assert np.array_equal(still, np.asarray(Image.open(tmp_path / prediction.values["image"]).convert("RGB")))
    (tmp_path / "<b>02.png").unlink()
    assert stills(predictions) is None
    assert stills(PredictionList()) is None


def test_a_history_has_its_curves_above_its_table() -> None:
    _, history, _, _ = trained()
    (picture,) = decoded(history._repr_html_())
    assert picture.width > 400
    assert len(np.unique(np.asarray(picture.convert("L")))) > 10  # the picture is not blank
    assert decoded(History()._repr_html_()) == []
    without_losses = History([{"epoch": 1, "step": 7}])._repr_html_()
    assert decoded(without_losses) == []
    assert ">7<" in without_losses  # only the table


def test_a_notebook_shows_pictures_in_addition_to_text(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = InteractiveShell()
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: shell)
    monkeypatch.setattr(display, "find_spec", lambda name: None)  # anywidget is not installed
    display.register()
    predictions = Model.load("mnist-lenet").predict(sample("digit 3").permute(1, 2, 0).numpy())
    data, _ = shell.display_formatter.format(predictions)
    assert len(decoded(data["text/html"])) == 1
    assert predictions[0].line in data["text/plain"]
