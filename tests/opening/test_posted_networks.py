"""Networks as people post them: outputs and all gradients of the opened network equal PyTorch's.

The list was written before any of them was opened, from what public questions, reports and tutorials contain. Of the
first 20, 8 opened at the first try; of the second 20, opened once after what the first 20 needed was there, 16.
"""

import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid import PellucidError
from pellucid.export import to_onnx, to_torch, torch_file
from pellucid.export.parity import Parity
from tests.opening.posted import networks_01_to_10, networks_11_to_20, networks_21_to_30, networks_31_to_40
from tests.oracle import assert_close

FIRST_HALF = [*networks_01_to_10.NETWORKS, *networks_11_to_20.NETWORKS]
SECOND_HALF = [*networks_21_to_30.NETWORKS, *networks_31_to_40.NETWORKS]
POSTED: dict[str, tuple[Any, ...]] = {kind.__name__: (kind, *shapes) for kind, *shapes in FIRST_HALF + SECOND_HALF}
# The largest difference, relative to the largest value of a tensor; SSDLite has a parameter in float32.
EQUAL = {torch.float64: 1e-10, torch.float32: 1e-6}
REFUSED = {
    "EEGNet": "the forward of EEGNet replaces a weight or an attribute by a computed tensor",
}


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def outputs_of(y: Any) -> list[Tensor]:
    if isinstance(y, Tensor):
        return [y]
    return list(y.values() if isinstance(y, Mapping) else y)


def made(kind: Any) -> nn.Module:
    """Return a network with statistics as after training."""
    torch.manual_seed(0)
    network: nn.Module = kind()
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return network


@pytest.mark.filterwarnings("ignore")  # of old interfaces of PyTorch, which people use
@pytest.mark.parametrize("name", [name for name in POSTED if name not in REFUSED])
def test_outputs_and_gradients_equal_pytorchs(name: str) -> None:
    kind, *shapes = POSTED[name]
    network = made(kind).eval()
    inputs = [torch.rand(3, *shape) for shape in shapes]
    if name == "MaskedFrames":
        inputs[1] = (inputs[1] > 0.4).double()
    network(*inputs)  # lazy layers get their shapes
    given: Any = inputs[0] if len(inputs) == 1 else tuple(inputs)
    model = pellucid.open(network, given)

    leaves = [x.clone().requires_grad_() for x in inputs]
    expected = outputs_of(network(*(x.clone() for x in leaves)))
    outputs = outputs_of(model(given))
    dys = [torch.randn(y.shape).to(y) for y in expected]
    parameters = dict(network.named_parameters())
    differentiable = [(y, dy) for y, dy in zip(expected, dys, strict=True) if y.requires_grad]
    reference = torch.autograd.grad(
        [y for y, _ in differentiable],
        [*leaves, *parameters.values()],
        [dy for _, dy in differentiable],
        allow_unused=True,
    )
    gradients = model.gradients(given, dys[0] if len(dys) == 1 else tuple(dys))
    dx = gradients.pop("input")
    ours = [*(dx if isinstance(dx, tuple) else (dx,)), *(gradients.get(key) for key in parameters)]

    for output, y in zip(outputs, expected, strict=True):
        assert_close(output, y.detach(), EQUAL[y.dtype])
    for key, gradient, other in zip([*range(len(leaves)), *parameters], ours, reference, strict=True):
        if other is None:
            assert gradient is None or not gradient.any(), key
        else:
            assert gradient is not None, key
            assert_close(gradient, other, EQUAL[other.dtype])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name: str) -> None:
    kind, shape = POSTED[name]
    network = made(kind).eval()
    x = torch.rand(3, *shape)
    network(x)
    with pytest.raises(PellucidError, match=REFUSED[name]) as caught:
        pellucid.open(network, x)
    assert "\n" not in str(caught.value)


class Steps(nn.Module):
    """Comparisons, signs, roundings, masks as numbers, and larger values."""

    def forward(self, x: Tensor) -> Tensor:
        chosen = torch.where(x > 0.5, x, x.round()) * (x != 0.25).float()
        parts = torch.sign(x - 0.3) + torch.floor(3 * x) + torch.ceil(2 * x)
        inside = ((x >= 0.2) & (x < 0.8)) | ~(x <= 0.9)
        return chosen + parts + inside.float() + torch.where(x == x.flip(1), x, -x) + torch.maximum(x, x.flip(2))


class Choices(nn.Module):
    """Values at chosen positions, one-hot vectors, and functions of numbers."""

    def forward(self, x: Tensor) -> Tensor:
        largest, at = x.topk(2, 2)
        mixed = torch.zeros_like(x).scatter(2, at, largest.softmax(2)) * x
        hot = nn.functional.one_hot(x.argmax(3), x.shape[3]).float()
        ordered = x.sort(2, descending=True)[0] - x.min(2, keepdim=True)[0] + x.argsort(2).float()
        numbers = x.log1p() + x.expm1() + x.log2() - x.acos() * x.atan() + torch.exp2(x) + x.tan() + x % 0.3
        return mixed + hot * ordered + numbers


SHOWN_HERE = {"Steps": Steps, "Choices": Choices}


@pytest.mark.parametrize(
    "name",
    ["CBAMClassifier", "GeMRetrieval", "BilinearCNN", "SPPNet", "SegNet", "SoftArgmaxLandmarks", *SHOWN_HERE],
)
@pytest.mark.slow
def test_exported_files_compute_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    # to_torch compares the outputs of another process, which starts for a second; the file runs in this one below.
    monkeypatch.setattr(torch_file, "_outputs_of_file", lambda *file: [])
    monkeypatch.setattr(torch_file, "compare", lambda *outputs: Parity(0.0))
    kind, shape = (SHOWN_HERE[name], (3, 4, 5)) if name in SHOWN_HERE else POSTED[name]
    torch.set_default_dtype(torch.float32)
    network, x = made(kind).eval(), torch.rand(3, *shape)
    y = network(x).detach()
    model = pellucid.open(network, x, loss="quadratic")
    to_onnx(model, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert_close(torch.from_numpy(output), y, 1e-5)
    to_torch(model, tmp_path / "net.py")
    module: Any = runpy.run_path(str(tmp_path / "net.py"))
    assert_close(module["load"]()(x).detach(), y, 1e-6)
