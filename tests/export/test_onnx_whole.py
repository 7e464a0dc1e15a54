"""Whole ONNX files, from 8-bit pictures to the values of `predict`, run by the code on their HTML page."""

import html
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.export import TOLERANCE, to_onnx
from pellucid.layers import Conv2d
from pellucid.losses import HeatMaps, SoftmaxCrossEntropy
from pellucid.model import Model

NO_IMPORTS_CHECK = "import sys; assert not [name for name in sys.modules if name.startswith(('pellucid', 'torch'))]\n"


def run_page(path: Path, picture: np.ndarray) -> list[np.ndarray]:
    """Run the code of the page in a new process, in the folder of the file, and return its results."""
    Image.fromarray(picture).save(path.parent / "picture.png")
    page = path.with_suffix(".html").read_text(encoding="utf-8")
    (code,) = re.findall(r"(import numpy as np.*?)</", page, flags=re.DOTALL)
    script = f"{html.unescape(code)}\n{NO_IMPORTS_CHECK}np.savez('results.npz', *results)\n"
    subprocess.run([sys.executable, "-I", "-c", script], cwd=path.parent, check=True, timeout=60)
    with np.load(path.parent / "results.npz") as results:
        return [results[name] for name in results.files]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist-lenet", "cifar", "camvid"])
def test_the_code_on_the_page_returns_the_values_of_predict(name: str, tmp_path: Path) -> None:
    model, path = Model.load(name), tmp_path / "net.onnx"
    assert to_onnx(model, path, whole=True).difference <= TOLERANCE
    about = {one.key: json.loads(one.value) for one in onnx.load(path).metadata_props}
    assert about["outputs"] == "the values of predict"
    channels, height, width = model.nominal_shape
    rng = np.random.default_rng(0)
    picture = rng.integers(256, size=(height, width, channels), dtype=np.uint8)
    results = run_page(path, picture if channels == 3 else picture[:, :, 0])
    expected = model.predict(torch.from_numpy(picture).permute(2, 0, 1)[None]).numpy()
    assert np.abs(results[0] - expected).max() < 1e-5
    if expected.ndim == 4:
        assert np.array_equal(results[1], results[0].argmax(1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar", "signs"])
def test_a_picture_as_the_page_asks_for_gets_the_numbers_of_the_command(name: str, tmp_path: Path) -> None:
    model, path = Model.load(name), tmp_path / "net.onnx"
    to_onnx(model, path, whole=True)
    page = html.unescape(path.with_suffix(".html").read_text("utf-8"))
    (width, height), *_ = re.findall(r"PNG of (\d+) x (\d+) pixels", page)
    (temperature,) = map(float, re.findall(r"p \*\* \(1 / ([\d.]+)\)", page) or [1])
    assert (temperature != 1) == (model.confidence is not None)
    picture = np.random.default_rng(0).integers(256, size=(int(height), int(width), 3), dtype=np.uint8)
    (results,) = run_page(path, picture)
    (predicted,) = model.predict([tmp_path / "picture.png"])
    calibrated = results[0] ** (1 / temperature)
    expected = calibrated / calibrated.sum()
    assert [*predicted.values["probabilities"].values()] == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.slow
def test_a_detector_returns_its_detections(tmp_path: Path) -> None:
    model = Model.load("bccd")
    to_onnx(model, tmp_path / "bare.onnx")
    to_onnx(model, tmp_path / "whole.onnx", whole=True)
    bare, whole = (onnxruntime.InferenceSession(tmp_path / f"{name}.onnx") for name in ("bare", "whole"))
    _, height, width, _ = whole.get_inputs()[0].shape
    picture = np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)
    scaled = picture.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    expected: Any = bare.run(None, {"input": scaled})
    for result, reference in zip(run_page(tmp_path / "whole.onnx", picture), expected, strict=True):
        assert np.array_equal(result, reference)
    assert [reference.name for reference in whole.get_outputs()] == ["boxes", "scores", "labels", "count"]


def test_large_outputs_before_a_softmax_are_no_fault(tmp_path: Path) -> None:
    """A difference of 1e-6 of outputs of about 1,000 changes probabilities by 1e-3, in any library."""
    model = Model(Sequential(conv=Conv2d(4, 5)), loss=SoftmaxCrossEntropy(), input_shape=(3, 16, 16))
    model.params["conv"]["weight"] *= 1e4
    difference = to_onnx(model, tmp_path / "net.onnx", whole=True).difference
    assert difference <= TOLERANCE
    picture = np.random.default_rng(0).integers(256, size=(1, 16, 16, 3), dtype=np.uint8)
    probabilities, _ = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {"images": picture})
    kernel = model.params["conv"]["weight"].double()
    scaled = torch.from_numpy(picture).permute(0, 3, 1, 2).double() / 255
    logits = torch.nn.functional.conv2d(scaled, kernel, model.params["conv"]["bias"].double())
    assert np.allclose(probabilities, logits.softmax(1).numpy(), atol=0.05)


def test_predictions_that_onnx_cannot_express_are_refused(tmp_path: Path) -> None:
    model = Model(Sequential(conv=Conv2d(2, 3)), loss=HeatMaps(), input_shape=(1, 8, 8))
    with pytest.raises(PellucidError, match=r"HeatMaps\.predict cannot be written as ONNX"):
        to_onnx(model, tmp_path / "net.onnx", whole=True)
    assert not list(tmp_path.iterdir())
