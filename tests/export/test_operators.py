"""Operators of opened networks, exported as ONNX and PyTorch code: outputs equal those of PyTorch's functions."""

from collections.abc import Callable

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.combine import walk
from pellucid.export import onnx_bytes
from pellucid.export.parity import stored_tensor
from pellucid.export.torch_file import source
from pellucid.nested import flatten, map_tree
from pellucid.opening.onnx_nodes import WRITERS
from pellucid.opening.onnx_nodes.operators import COMPOSED_FUNCTIONS, FUNCTION_OPS, no_operator
from pellucid.operators import FUNCTIONS as NUMBER_FUNCTIONS
from tests.export.test_onnx_file import run
from tests.export.test_torch_file import module_of
from tests.opening.networks import NETWORKS
from tests.opening.test_opened import build_network, images
from tests.opening.test_operators import FUNCTIONS, FullPrecision, Function, Standardized, TwoPaths

TOLERANCE = 1e-5  # relative to the largest value

MASK = torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) > 0.3
MASK[:, 0] = True  # every query has at least one key


def replaced(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1] = 2 * x[:, 0]
    y[:, :, 1:-2:3] = x[:, :, 2:7:1]
    return y


MORE_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "causal attention": lambda x: F.scaled_dot_product_attention(x, 2 * x, x, is_causal=True),
    "attention with a scale": lambda x: F.scaled_dot_product_attention(x, x, x, scale=0.1),
    "attention with a mask of choices": lambda x: F.scaled_dot_product_attention(x, x, x, MASK),
    "attention with a mask of numbers": lambda x: F.scaled_dot_product_attention(x, x, x, MASK.double()),
    "replaced": replaced,
    "joined": lambda x: torch.cat((x.transpose(0, 1), x.transpose(0, 1)[:1]), 0).transpose(0, 1),
    "sequences first": lambda x: F.layer_norm(x.flatten(2).permute(2, 0, 1), (3,)).permute(1, 0, 2),
    "softplus": F.softplus,
    "population variance": lambda x: x.var((1, 2), correction=0),
    "prelu of one slope": lambda x: F.prelu(x, torch.full((1,), 0.3).double()),
    "slices": lambda x: x[:, :, -5:-1, 1::4],
    "angle, which ONNX lacks": lambda x: torch.atan2(x, x.flip(1) + 9),
    "negative padding": lambda x: F.pad(x.flatten(1), (3, -2), value=1.5),
    "rolled twice": lambda x: x.roll((17, -2), (2, 3)),
}


def assert_exports(network: nn.Module, to_onnx: bool = True) -> None:
    """Compare the files of an opened network with it; to_onnx: whether ONNX has all of its functions of numbers."""
    model = pellucid.open(network, images(2))
    to_onnx = to_onnx and not any(WRITERS.get(type(layer)) is no_operator for _, layer in walk(model.net))
    shape, params = tuple(images(1).shape[1:]), map_tree(stored_tensor, model.params)
    data = b""
    if to_onnx:
        data, _ = onnx_bytes(model.net, params, shape)
    else:
        with pytest.raises(PellucidError, match="ONNX has no operator"):
            onnx_bytes(model.net, params, shape)
    text, weights = source("net", model.net, params, shape, None, None)
    assert {name.replace("to_", "to") for name in weights} == flatten(params).keys()
    module = module_of(text).network()
    module.load_state_dict(weights)
    for count in (1, 4):
        x = images(count, seed=count)
        y = network(x).detach()
        with torch.no_grad():
            outs = (*(run(data, x.float()) if to_onnx else ()), module.double().train(False)(x))
        for output in outs:
            assert (output - y).abs().max() <= TOLERANCE * y.abs().max()


@pytest.mark.parametrize("name", [*FUNCTIONS, *MORE_FUNCTIONS])
def test_function_equals_pytorchs(name: str) -> None:
    assert_exports(Function({**FUNCTIONS, **MORE_FUNCTIONS}[name]))


def test_functions_of_which_onnx_has_an_operator_are_written() -> None:
    known = {name: name.capitalize() for name in NUMBER_FUNCTIONS if onnx.defs.has(name.capitalize())}
    assert known == FUNCTION_OPS, "change FUNCTION_OPS of pellucid/opening/onnx_nodes/operators.py"


@pytest.mark.parametrize("name", NUMBER_FUNCTIONS)
def test_a_function_of_each_number_equals_pytorchs(name: str) -> None:
    has_onnx = name in FUNCTION_OPS or name in COMPOSED_FUNCTIONS
    assert_exports(Function(lambda x: getattr(torch, name)(0.1 + 0.8 * x.sigmoid())), to_onnx=has_onnx)


@pytest.mark.parametrize("kind", [Standardized, TwoPaths, FullPrecision])
def test_network_equals_pytorchs(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    assert_exports(kind().double().eval())


@pytest.mark.parametrize("kind", NETWORKS)
def test_opened_network_equals_pytorchs(kind: type[nn.Module]) -> None:
    assert_exports(build_network(kind).eval())
