"""Every network of MODELS, large ones with 1/16 of their filters: to ONNX and back, and to PyTorch."""

import pytest
import torch

from pellucid.export import TOLERANCE, from_onnx, onnx_bytes
from pellucid.export.parity import compare, outputs, random_inputs
from pellucid.export.torch_file import source
from pellucid.models import MODELS
from pellucid.nested import flatten
from pellucid.network.traced import trace
from tests.export.samples import flat_list, trained_params, zoo
from tests.export.test_torch_file import module_of

NETWORKS = zoo()


def test_the_zoo_is_complete() -> None:
    assert {name.split()[0] for name in NETWORKS} == set(MODELS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_exported_to_onnx_and_imported_again(name: str, tmp_path) -> None:
    net, shape = NETWORKS[name]
    params = trained_params(net, shape)
    data, parity = onnx_bytes(net, params, shape)
    assert parity.difference <= TOLERANCE
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    imported_net, imported_params = from_onnx(path)
    exported, imported = flatten(params), flatten(imported_params)
    assert [path.replace(".", "_") for path in exported] == [path.replace(".", "_") for path in imported]
    assert all(torch.equal(first, second) for first, second in zip(exported.values(), imported.values(), strict=True))
    xs = random_inputs(trace(net, params, shape), 1)
    assert compare(outputs(net, params, xs, None), outputs(imported_net, imported_params, xs, None)).difference <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_exported_to_pytorch(name: str) -> None:
    net, shape = NETWORKS[name]
    params = trained_params(net, shape)
    text, held = source("net", net, params, shape, None, None)
    assert held.keys() == flatten(params).keys()
    module = module_of(text).network()
    module.load_state_dict(held)
    xs = random_inputs(trace(net, params, shape), 2)
    with torch.no_grad():
        y = module.train(False)(*xs)
    assert compare(outputs(net, params, xs, None), flat_list(y)).difference <= TOLERANCE


def test_shifted_windows_are_exported_in_both_formats() -> None:
    net, shape = MODELS["swin"](5, 16, 2, 8, (2, 1), 2), (3, 16, 16)
    params = trained_params(net, shape)
    assert onnx_bytes(net, params, shape)[1].difference <= TOLERANCE
    text, weights = source("net", net, params, shape, None, None)
    module = module_of(text).network()
    module.load_state_dict(weights)
    (x,) = random_inputs(trace(net, params, shape), 2)
    with torch.no_grad():
        y = module.train(False)(x)
    assert compare(outputs(net, params, (x,), None), flat_list(y)).difference <= TOLERANCE
