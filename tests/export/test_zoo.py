"""Every network of MODELS, with a sixteenth of the filters where it is large: to ONNX and back, and to PyTorch."""

import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.export import TOLERANCE, from_onnx, onnx_bytes
from pellucid.export.parity import batch, compare, outputs
from pellucid.export.torch_file import source
from pellucid.models import MODELS
from pellucid.nested import flatten
from pellucid.network.traced import trace
from tests.export.samples import UNEXPORTED, flat, trained, zoo
from tests.export.test_torch_file import module_of

NETWORKS = zoo()


def test_the_zoo_is_complete() -> None:
    assert {name.split()[0] for name in NETWORKS} | UNEXPORTED == set(MODELS)


@pytest.mark.parametrize("name", sorted(UNEXPORTED))
def test_layers_without_a_form_are_named(name: str) -> None:
    side = {"vit": 12, "swin": 16}.get(name, 32)
    small = {"vit": (12, 4, 8, 2, 2), "swin": (16, 2, 8, (1, 1), 2)}.get(name, ())
    net, shape = MODELS[name](5, *small), (3, side, side)
    params, _ = net.init(shape, torch.Generator().manual_seed(0))
    with pytest.raises(PellucidError, match=r"no ONNX operators for the layers .*Permute, .*Learned"):
        onnx_bytes(net, params, shape)
    with pytest.raises(PellucidError, match=r"no PyTorch code for the layers .*Permute, .*Learned"):
        source("net", net, params, shape, None, None)


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
