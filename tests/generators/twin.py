"""What the plain PyTorch training of pix2pix needs to be the same: the draws of dropout, and the parameters."""

import torch
from torch import Tensor, nn

from pellucid.layers.base import Params
from pellucid.nested import flatten


class Noise(nn.Module):
    """Dropout of 1/2 by the draws of `rng`."""

    rng: torch.Generator

    def forward(self, x: Tensor) -> Tensor:
        kept = torch.rand(x.shape, generator=self.rng) >= 0.5
        return x * kept / 0.5


def draw_from(net: nn.Module, rng: torch.Generator) -> None:
    """Let the network's dropout draw from this generator."""
    for module in net.modules():
        if isinstance(module, Noise):
            module.rng = rng


def fill(module: nn.Module, params: Params) -> None:
    """Copy parameters into a module that has them in the same order, for each shape."""
    left = [tensor for name, tensor in module.state_dict().items() if not name.endswith("num_batches_tracked")]
    for tensor in flatten(params).values():
        place = next(k for k, one in enumerate(left) if one.shape == tensor.shape)
        left.pop(place).copy_(tensor)
    assert not left
