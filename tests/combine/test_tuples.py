"""Gradients of a tuple that several layers read are summed element by element."""

import pytest
import torch

from pellucid.combine import Fork, Graph, Parallel, Sequential
from pellucid.layers import Add, Concat, Dense, Layer, Multiply
from tests.oracle import Sample, autograd, difference, forward_backward, leaves

SUM_AND_PRODUCT = Parallel({"sum": Add(), "product": Multiply()}, Concat())
NETWORKS = {
    "parallel": Sequential(fork=Fork(a=Dense(4), b=Dense(4)), twice=SUM_AND_PRODUCT),
    "graph": Graph(
        {
            "fork": (Fork(a=Dense(4), b=Dense(4)), "input"),
            "sum": (Add(), "fork"),
            "product": (Multiply(), "fork"),
            "out": (Concat(), "sum", "product"),
        },
        ("out",),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_a_tuple_that_two_layers_read_are_summed(name: str) -> None:
    net: Layer = NETWORKS[name]
    sample = Sample(net, (3,))
    params, x = sample.inputs(5)
    _, dy, dx, dparams = forward_backward(net, params, x, sample.mode())
    _, expected_dx, expected_dparams = autograd(net, params, x, sample.mode(), dy)
    assert torch.is_tensor(x)
    assert dparams.keys() == expected_dparams.keys()
    for path, leaf in {**leaves(expected_dx), **expected_dparams}.items():
        assert difference({**dx, **dparams}[path], leaf) < 1e-12, path
