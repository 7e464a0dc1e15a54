"""Norms are folded in float32 on Apple GPUs, which have no float64; tensors on the CPU simulate one."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.fuse.inference import inference
from pellucid.layers import BatchNorm, Conv2d, Layer, Mode, ReLU
from tests.oracle import Sample, assert_close, cast, leaves, tree_map
from tests.references import reference_forward


class Apple(Tensor):
    """A CPU tensor whose `device` is an Apple GPU; as there, conversion to float64 raises TypeError."""

    @property
    def device(self) -> torch.device:
        return torch.device("mps")

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, Tensor) and result.dtype is torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        return result


def test_the_simulated_apple_tensor_refuses_float64() -> None:
    with pytest.raises(TypeError, match="float64"):
        torch.ones(2).as_subclass(Apple).double()


@pytest.mark.parametrize(
    "net",
    [
        Sequential(BatchNorm(), ReLU()),
        Sequential(Conv2d(3, 3), BatchNorm(epsilon=0.1), ReLU()),
        Sequential(Conv2d(3, 3, bias=False), BatchNorm()),
    ],
    ids=str,
)
def test_norms_are_folded_without_float64(net: Layer) -> None:
    params, x = Sample(net, (2, 6, 7)).inputs()
    apple_params_and_x = tree_map(lambda leaf: leaf.float().as_subclass(Apple), (params, x))
    y = inference(net, apple_params_and_x[0])(apple_params_and_x[1])
    assert_close(y.as_subclass(Tensor), reference_forward(net, params, x, Mode()), 1e-5, "y")


def test_norms_are_folded_in_float64_elsewhere() -> None:
    """If the mean is large compared with σ, float32 loses digits: b - μ w / σ is about 1e4 / 1e-2 = 1e6."""
    net = Sequential(conv=Conv2d(1, 1), norm=BatchNorm(epsilon=0.0))
    params, x = Sample(net, (1, 3, 3)).inputs()
    params["conv"]["bias"] += 1e4
    params["norm"]["running_mean"] += 1e4
    params["norm"]["running_var"] *= 1e-4
    params, x = cast(params, torch.float32), x.float()
    run = inference(net, params).run
    params64 = {path: leaf.double() for path, leaf in leaves(params).items()}
    scale = params64["norm.weight"] / params64["norm.running_var"].sqrt()
    shift = params64["norm.bias"] + (params64["conv.bias"] - params64["norm.running_mean"]) * scale
    assert_close(run.bias, shift, 1e-6, "bias")
