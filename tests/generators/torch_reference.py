"""What the plain PyTorch training of pix2pix needs to be the same: the draws of dropout, and the parameters."""

import torch
from torch import Tensor, nn

from pellucid.layers.base import Params
from pellucid.nested import flatten


class DrawnDropout(nn.Module):
    """Dropout of 1/2 by the draws of `rng`."""

    rng: torch.Generator

    def forward(self, x: Tensor) -> Tensor:
        keep_mask = torch.rand(x.shape, generator=self.rng) >= 0.5
        return x * keep_mask / 0.5


def set_dropout_rng(net: nn.Module, rng: torch.Generator) -> None:
    """Let the network's dropout draw from this generator."""
    for module in net.modules():
        if isinstance(module, DrawnDropout):
            module.rng = rng


def copy_params(module: nn.Module, params: Params) -> None:
    """Copy parameters into a module that has them in the same order, for each shape."""
    remaining = [tensor for name, tensor in module.state_dict().items() if not name.endswith("num_batches_tracked")]
    for tensor in flatten(params).values():
        index = next(k for k, tensor_ in enumerate(remaining) if tensor_.shape == tensor.shape)
        remaining.pop(index).copy_(tensor)
    assert not remaining
