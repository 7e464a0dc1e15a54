"""pix2pix in plain PyTorch: its modules, two optimizers and automatic differentiation."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE, WIDEST, DROPPED = 0.2, 8, 3


class Level(nn.Module):
    """One level of the U-Net, around the next one."""

    def __init__(
        self, channels: int, down: int, up: int, inner: "Level | None", noise: nn.Module | None, inplace: bool
    ) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, down, 4, 2, 1, bias=False)
        self.norm = None if inner is None else nn.BatchNorm2d(down)
        self.inner = inner
        self.relu = nn.ReLU(inplace)
        self.up = nn.ConvTranspose2d(down if inner is None else 2 * down, up, 4, 2, 1, bias=False)
        self.norm_up = nn.BatchNorm2d(up)
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(F.leaky_relu(x, SLOPE))
        if self.inner is not None and self.norm is not None:
            y = self.inner(self.norm(y))
        y = self.norm_up(self.up(self.relu(y)))
        return torch.cat([x, y if self.noise is None else self.noise(y)], 1)


class Generator(nn.Module):
    """The U-Net; `noise` makes its dropout layers."""

    def __init__(
        self,
        channels: int,
        filters: int,
        width: int,
        levels: int,
        noise: Callable[[], nn.Module] = nn.Dropout,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        inner = None
        for level in range(levels, 1, -1):
            up, down = (width * min(2**step, WIDEST) for step in (level - 2, level - 1))
            dropped = levels - level < DROPPED and up == WIDEST * width
            inner = Level(up, down, up, inner, noise() if dropped else None, inplace)
        self.down = nn.Conv2d(channels, width, 4, 2, 1, bias=False)
        self.inner = inner
        self.up = nn.ConvTranspose2d(2 * width, filters, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        assert self.inner is not None
        return torch.tanh(self.up(F.relu(self.inner(self.down(x)))))


def discriminator(channels: int, width: int, halvings: int, inplace: bool = False) -> nn.Sequential:
    """Return the discriminator of patches: of 34 pixels with 2 halvings, of 70 with 3."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(SLOPE, inplace)]
    for number in range(1, halvings + 1):
        before, after = (width * min(2**step, WIDEST) for step in (number - 1, number))
        conv = nn.Conv2d(before, after, 4, 2 if number < halvings else 1, 1, bias=False)
        layers += [conv, nn.BatchNorm2d(after), nn.LeakyReLU(SLOPE, inplace)]
    return nn.Sequential(*layers, nn.Conv2d(after, 1, 4, 1, 1))


@dataclass
class Training:
    """Both networks and their optimizers; `step` makes one step of the paper's training."""

    generator: nn.Module
    judge: nn.Module
    rates: tuple[float, float]
    l1: float
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer] = field(init=False)

    def __post_init__(self) -> None:
        pairs = zip((self.generator, self.judge), self.rates, strict=True)
        first, second = (torch.optim.Adam(net.parameters(), rate, betas=(0.5, 0.999)) for net, rate in pairs)
        self.optimizers = first, second

    def step(self, x: Tensor, real: Tensor) -> tuple[float, float, float]:
        """Learn from a pair, and return the losses of the judge and of the generator, and the absolute error."""
        of_generator, of_judge = self.optimizers
        made = self.generator(x)
        self.judge.requires_grad_(True)
        of_judge.zero_grad()
        on_real, on_made = self.judge(torch.cat([x, real], 1)), self.judge(torch.cat([x, made.detach()], 1))
        yes, no = torch.ones_like(on_real), torch.zeros_like(on_real)
        judged = F.binary_cross_entropy_with_logits(on_real, yes) + F.binary_cross_entropy_with_logits(on_made, no)
        (0.5 * judged).backward()
        of_judge.step()
        self.judge.requires_grad_(False)
        of_generator.zero_grad()
        fooled = F.binary_cross_entropy_with_logits(self.judge(torch.cat([x, made], 1)), yes)
        distance = F.l1_loss(made, real)
        (fooled + self.l1 * distance).backward()
        of_generator.step()
        return judged.item(), fooled.item(), distance.item()
