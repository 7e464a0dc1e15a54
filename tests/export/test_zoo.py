"""Every network of MODELS, with a sixteenth of the filters where it is large: to ONNX and back, and to PyTorch."""

import pytest
import torch

from pellucid.export import TOLERANCE, from_onnx, onnx_bytes
from pellucid.export.parity import batch, compare, outputs
from pellucid.export.torch_file import source
from pellucid.models import MODELS
from pellucid.nested import flatten
from pellucid.network.traced import trace
from tests.export.samples import flat, trained, zoo
from tests.export.test_torch_file import module_of

NETWORKS = zoo()


def test_the_zoo_is_complete() -> None:
    assert {name.split()[0] for name in NETWORKS} == set(MODELS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_go_to_onnx_and_come_back(name: str, tmp_path) -> None:
    net, shape = NETWORKS[name]
    params = trained(net, shape)
    data, parity = onnx_bytes(net, params, shape)
    assert parity.difference <= TOLERANCE
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    back, held = from_onnx(path)
    ours, theirs = flatten(params), flatten(held)
    assert [path.replace(".", "_") for path in ours] == [path.replace(".", "_") for path in theirs]
    assert all(torch.equal(one, other) for one, other in zip(ours.values(), theirs.values(), strict=True))
    xs = batch(trace(net, params, shape), 1)
    assert compare(outputs(net, params, xs, None), outputs(back, held, xs, None)).difference <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_go_to_pytorch(name: str) -> None:
    net, shape = NETWORKS[name]
    params = trained(net, shape)
    text, held = source("net", net, params, shape, None, None)
    assert held.keys() == flatten(params).keys()
    module = module_of(text).network()
    module.load_state_dict(held)
    xs = batch(trace(net, params, shape), 2)
    with torch.no_grad():
        y = module.train(False)(*xs)
    assert compare(outputs(net, params, xs, None), flat(y)).difference <= TOLERANCE


def test_windows_that_are_shifted_are_written_in_both_formats() -> None:
    net, shape = MODELS["swin"](5, 16, 2, 8, (2, 1), 2), (3, 16, 16)
    params = trained(net, shape)
    assert onnx_bytes(net, params, shape)[1].difference <= TOLERANCE
    text, held = source("net", net, params, shape, None, None)
    module = module_of(text).network()
    module.load_state_dict(held)
    (x,) = batch(trace(net, params, shape), 2)
    with torch.no_grad():
        y = module.train(False)(x)
    assert compare(outputs(net, params, (x,), None), flat(y)).difference <= TOLERANCE
