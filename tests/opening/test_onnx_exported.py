"""ONNX files written by PyTorch's exporter: outputs and input gradients against the modules."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import pellucid
from tests.opening.networks import NETWORKS, ConvNeXt, UNet, ViT
from tests.opening.test_opened import build_network, images

TOLERANCE = 1e-5  # relative to the largest value: the exporter computes constants in float32
FAST_NETWORKS = (ConvNeXt, UNet, ViT)
NETWORK_PARAMS = [kind if kind in FAST_NETWORKS else pytest.param(kind, marks=pytest.mark.slow) for kind in NETWORKS]


def export_onnx(network: nn.Module, path: Path, free: bool, opset: int) -> Path:
    """Export a network to a file for any number of examples if `free`, else for one, and return the path."""
    options = {"dynamic_axes": {"x": {0: "N"}}} if free else {"do_constant_folding": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations and warnings of the tracer
        torch.onnx.export(
            network, (images(2 if free else 1).float(),), str(path), input_names=["x"], opset_version=opset,
            dynamo=False, **options,
        )  # fmt: skip
    return path


@pytest.mark.parametrize("free", [True, False], ids=["any number", "one"])
@pytest.mark.parametrize("kind", NETWORK_PARAMS)
def test_files_of_the_exporter_open(kind: type[nn.Module], free: bool, tmp_path: Path) -> None:
    network = build_network(kind).float().eval()
    model = pellucid.open(export_onnx(network, tmp_path / "net.onnx", free, 17), precision="float64")
    network, x = network.double(), images(3)
    x_leaf = x.clone().requires_grad_()
    y = network(x_leaf)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(y, x_leaf, dy)
    for actual, expected in ((model(x), y.detach()), (model.gradients(x, dy)["input"], gradient)):
        assert (actual - expected).abs().max() <= TOLERANCE * expected.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("opset", [9, 11, 13])
def test_older_operator_sets_of_the_exporter_open(opset: int, tmp_path: Path) -> None:
    network = build_network(ConvNeXt).float().eval()
    model = pellucid.open(export_onnx(network, tmp_path / "net.onnx", False, opset))
    y = network(images(3).float()).detach()
    assert (model(images(3).float()) - y).abs().max() <= TOLERANCE * y.abs().max()
