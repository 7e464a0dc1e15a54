"""The same dropout draws and parameters for a plain PyTorch training of pix2pix."""

import torch
from torch import Tensor, nn

from pellucid.layers.base import Params
from pellucid.nested import flatten


class DrawnDropout(nn.Module):
    """Dropout with a probability of 1/2, drawn from `rng`."""

    rng: torch.Generator

    def forward(self, x: Tensor) -> Tensor:
        keep_mask = torch.rand(x.shape, generator=self.rng) >= 0.5
        return x * keep_mask / 0.5


def set_dropout_rng(net: nn.Module, rng: torch.Generator) -> None:
    """Set the random generator from which all dropout layers of a network draw."""
    for module in net.modules():
        if isinstance(module, DrawnDropout):
            module.rng = rng


def copy_params(module: nn.Module, params: Params) -> None:
    """Copy parameters into a module; those of one shape must have the same order in both."""
    remaining = [tensor for name, tensor in module.state_dict().items() if not name.endswith("num_batches_tracked")]
    for tensor in flatten(params).values():
        index = next(k for k, tensor_ in enumerate(remaining) if tensor_.shape == tensor.shape)
        remaining.pop(index).copy_(tensor)
    assert not remaining
