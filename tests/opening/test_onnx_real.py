"""Trained third-party ONNX networks in ../shared/data/models: outputs against onnxruntime, and gradients."""

from pathlib import Path

import onnxruntime
import pytest
import torch

import pellucid
from pellucid.nested import flatten
from tests.opening.test_onnx import assert_exact_gradients

MODELS = Path(__file__).resolve().parents[3] / "shared" / "data" / "models"
FILES = ("face-rfb-320.onnx", "fastestdet.onnx")
pytestmark = pytest.mark.real


@pytest.mark.parametrize("name", FILES)
def test_outputs_agree_with_onnxruntime(name: str) -> None:
    model = pellucid.open(MODELS / name)
    session = onnxruntime.InferenceSession(MODELS / name)
    x = torch.rand(3, *model.input_shape, generator=torch.Generator().manual_seed(3)) - 0.5
    outputs = model(x)
    for index, output in enumerate(outputs if isinstance(outputs, tuple) else (outputs,)):
        example_outputs = [
            session.run(None, {session.get_inputs()[0].name: x[n : n + 1].numpy()})[index] for n in range(3)
        ]
        expected = torch.cat([torch.from_numpy(part) for part in example_outputs])
        assert float((output - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize("name", FILES)
def test_gradients_agree_with_automatic_differentiation(name: str) -> None:
    model = pellucid.open(MODELS / name)
    x = torch.rand(1, *model.input_shape, generator=torch.Generator().manual_seed(3)).double()
    assert_exact_gradients(model.net, model.params, x)


def test_weights_have_the_names_of_the_file() -> None:
    model = pellucid.open(MODELS / FILES[0])
    assert model.weights["base_net.0.0.weight"].shape == (16, 3, 3, 3)
    assert {"base_net.7.branch0.0.bn.running_mean", "classification_headers.3.bias"} <= flatten(model.params).keys()
