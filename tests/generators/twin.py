"""pix2pix in plain PyTorch, with its modules, optimizers and automatic differentiation."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.layers.base import Params
from pellucid.models.pix2pix import DROPPED, SLOPE, WIDEST
from pellucid.tree import flatten


class Noise(nn.Module):
    """Dropout of 1/2 by the draws of `rng`."""

    rng: torch.Generator

    def forward(self, x: Tensor) -> Tensor:
        kept = torch.rand(x.shape, generator=self.rng) >= 0.5
        return x * kept / 0.5


class Level(nn.Module):
    """One level of the U-Net, around the next one."""

    def __init__(self, channels: int, down: int, up: int, inner: "Level | None", noise: bool) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, down, 4, 2, 1, bias=False)
        self.norm = None if inner is None else nn.BatchNorm2d(down)
        self.inner = inner
        self.up = nn.ConvTranspose2d(down if inner is None else 2 * down, up, 4, 2, 1, bias=False)
        self.norm_up = nn.BatchNorm2d(up)
        self.noise = Noise() if noise else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(F.leaky_relu(x, SLOPE))
        if self.inner is not None and self.norm is not None:
            y = self.inner(self.norm(y))
        y = self.norm_up(self.up(F.relu(y)))
        return torch.cat([x, y if self.noise is None else self.noise(y)], 1)


class Generator(nn.Module):
    def __init__(self, channels: int, filters: int, width: int, levels: int) -> None:
        super().__init__()
        inner = None
        for level in range(levels, 1, -1):
            up, down = (width * min(2**step, WIDEST) for step in (level - 2, level - 1))
            inner = Level(up, down, up, inner, levels - level < DROPPED and up == WIDEST * width)
        self.down = nn.Conv2d(channels, width, 4, 2, 1, bias=False)
        self.inner = inner
        self.up = nn.ConvTranspose2d(2 * width, filters, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        assert self.inner is not None
        return torch.tanh(self.up(F.relu(self.inner(self.down(x)))))


def discriminator(channels: int, width: int) -> nn.Sequential:
    """Return the discriminator of patches of 34 pixels."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(SLOPE),
        nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.LeakyReLU(SLOPE),
        nn.Conv2d(2 * width, 4 * width, 4, 1, 1, bias=False), nn.BatchNorm2d(4 * width), nn.LeakyReLU(SLOPE),
        nn.Conv2d(4 * width, 1, 4, 1, 1),
    )  # fmt: skip


def fill(module: nn.Module, params: Params) -> None:
    """Copy parameters into a module whose own are of the same order: by depth first, a norm's after its inner level."""
    own = [tensor for name, tensor in module.state_dict().items() if not name.endswith("num_batches_tracked")]
    given = [*flatten(params).values()]
    left = [*own]
    for tensor in given:
        place = next(k for k, one in enumerate(left) if one.shape == tensor.shape)
        left.pop(place).copy_(tensor)
    assert not left


def train(
    generator: nn.Module, judge: nn.Module, pairs: list[tuple[Tensor, Tensor]], rates: tuple[float, float], l1: float
) -> list[tuple[float, float, float]]:
    """Train by the paper's steps, one for each pair, and return the losses of both sides and the absolute error."""
    of_generator = torch.optim.Adam(generator.parameters(), rates[0], betas=(0.5, 0.999))
    of_judge = torch.optim.Adam(judge.parameters(), rates[1], betas=(0.5, 0.999))
    losses = []
    for step, (x, real) in enumerate(pairs):
        rng = torch.Generator().manual_seed(step)
        for module in generator.modules():
            if isinstance(module, Noise):
                module.rng = rng
        made = generator(x)
        for one in judge.parameters():
            one.requires_grad_(True)
        of_judge.zero_grad()
        on_real, on_made = judge(torch.cat([x, real], 1)), judge(torch.cat([x, made.detach()], 1))
        yes, no = torch.ones_like(on_real), torch.zeros_like(on_real)
        judged = F.binary_cross_entropy_with_logits(on_real, yes) + F.binary_cross_entropy_with_logits(on_made, no)
        (0.5 * judged).backward()
        of_judge.step()
        for one in judge.parameters():
            one.requires_grad_(False)
        of_generator.zero_grad()
        fooled = F.binary_cross_entropy_with_logits(judge(torch.cat([x, made], 1)), yes)
        distance = F.l1_loss(made, real)
        (fooled + l1 * distance).backward()
        of_generator.step()
        losses.append((judged.item(), fooled.item(), distance.item()))
    return losses
