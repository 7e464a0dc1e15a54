"""Pictures of gestures get the likeliest class, or "unsure" below the threshold."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.calibration.confidence import Confidence
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.tasks.classify.predictor import predict
from tests.tasks.gestures.colours import BLUE, GREY, PURE, RED, SIDE, colour_model, picture


def test_predictions_below_the_threshold_are_unsure(tmp_path: Path):
    files = [picture(tmp_path / "red.png", RED), picture(tmp_path / "grey.png", GREY)]
    red, grey = (predict(colour_model(), file) for file in files)
    assert (red.answer, red.label) == ("red", "red")
    assert red.output == pytest.approx(PURE, rel=1e-5)
    assert red.outputs == pytest.approx({"red": PURE, "green": (1 - PURE) / 2, "blue": (1 - PURE) / 2}, rel=1e-3)
    assert grey.answer is None
    assert grey.output == pytest.approx(1 / 3)
    assert [red.top_classes[0][0], len(red.top_classes)] == ["red", 3]


def test_probabilities_are_calibrated(tmp_path: Path):
    result = predict(colour_model(Confidence(3.0, 0.9)), picture(tmp_path / "red.png", RED))
    expected = torch.softmax(torch.tensor([2.0, 0, 0]), 0)  # a logit of 6, divided by 3
    assert result.output == pytest.approx(float(expected[0]), rel=1e-5)
    assert result.answer is None


def test_without_a_fitted_confidence_nothing_is_unsure(tmp_path: Path):
    result = predict(colour_model(None), picture(tmp_path / "grey.png", GREY))
    assert result.answer == result.label


def test_a_photograph_is_rotated_by_its_exif_orientation(tmp_path: Path):
    net = mlp((3 * SIDE * SIDE, 2))
    model = Model(net, input_shape=(3, SIDE, SIDE))
    image = Image.new("RGB", (SIDE, SIDE), BLUE)
    image.paste(RED, (0, 0, SIDE, 2))  # a red stripe on top
    image.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held a quarter turn to the left
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "plain.png")
    upright, turned, plain = (predict(model, tmp_path / f"{name}.png") for name in ("upright", "turned", "plain"))
    assert turned.outputs == upright.outputs
    assert plain.outputs != upright.outputs


def test_one_output_separates_two_classes(tmp_path: Path):
    model = Model(mlp((3 * SIDE * SIDE, 1)), "binary_cross_entropy", input_shape=(3, SIDE, SIDE), classes=["no", "yes"])
    model.confidence = Confidence(2.0, 0.5)
    result = predict(model, picture(tmp_path / "red.png", RED))
    assert sum(result.outputs.values()) == pytest.approx(1)
    assert result.answer in ("no", "yes")


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(PellucidError, match=r"bad\.png is damaged"):
        predict(colour_model(), tmp_path / "bad.png")
