"""pix2pix in plain PyTorch, with two optimizers and autograd."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE, MAX_WIDTH_FACTOR, N_DROPOUT_LEVELS = 0.2, 8, 3


class Level(nn.Module):
    """One level of the U-Net, which contains the next level. noise: a dropout layer, or None."""

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
    """The U-Net. noise: returns a new dropout layer."""

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
            up, down = (width * min(2**step, MAX_WIDTH_FACTOR) for step in (level - 2, level - 1))
            has_dropout = levels - level < N_DROPOUT_LEVELS and up == MAX_WIDTH_FACTOR * width
            inner = Level(up, down, up, inner, noise() if has_dropout else None, inplace)
        self.down = nn.Conv2d(channels, width, 4, 2, 1, bias=False)
        self.inner = inner
        self.up = nn.ConvTranspose2d(2 * width, filters, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        assert self.inner is not None
        return torch.tanh(self.up(F.relu(self.inner(self.down(x)))))


def discriminator(channels: int, width: int, halvings: int, inplace: bool = False) -> nn.Sequential:
    """Return the patch discriminator, whose patches have 34 pixels with 2 halvings and 70 with 3."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(SLOPE, inplace)]
    for number in range(1, halvings + 1):
        inputs, filters = (width * min(2**step, MAX_WIDTH_FACTOR) for step in (number - 1, number))
        conv = nn.Conv2d(inputs, filters, 4, 2 if number < halvings else 1, 1, bias=False)
        layers += [conv, nn.BatchNorm2d(filters), nn.LeakyReLU(SLOPE, inplace)]
    return nn.Sequential(*layers, nn.Conv2d(filters, 1, 4, 1, 1))


@dataclass
class Training:
    """Both networks and their optimizers; `step` is one step of the training in the paper (Isola et al. 2017)."""

    generator: nn.Module
    discriminator: nn.Module
    rates: tuple[float, float]
    l1: float
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer] = field(init=False)

    def __post_init__(self) -> None:
        pairs = zip((self.generator, self.discriminator), self.rates, strict=True)
        generator_adam, discriminator_adam = (
            torch.optim.Adam(net.parameters(), rate, betas=(0.5, 0.999), fused=True) for net, rate in pairs
        )
        self.optimizers = generator_adam, discriminator_adam

    def step(self, x: Tensor, real: Tensor) -> tuple[float, float, float]:
        """Train on a batch; return the losses of discriminator and generator, and the mean absolute error."""
        generator_optimizer, discriminator_optimizer = self.optimizers
        fake = self.generator(x)
        self.discriminator.requires_grad_(True)
        discriminator_optimizer.zero_grad()
        real_logits, fake_logits = (
            self.discriminator(torch.cat([x, real], 1)),
            self.discriminator(torch.cat([x, fake.detach()], 1)),
        )
        ones, zeros = torch.ones_like(real_logits), torch.zeros_like(real_logits)
        discriminator_loss = F.binary_cross_entropy_with_logits(real_logits, ones) + F.binary_cross_entropy_with_logits(
            fake_logits, zeros
        )
        (0.5 * discriminator_loss).backward()
        discriminator_optimizer.step()
        self.discriminator.requires_grad_(False)
        generator_optimizer.zero_grad()
        generator_loss = F.binary_cross_entropy_with_logits(self.discriminator(torch.cat([x, fake], 1)), ones)
        distance = F.l1_loss(fake, real)
        (generator_loss + self.l1 * distance).backward()
        generator_optimizer.step()
        return discriminator_loss.item(), generator_loss.item(), distance.item()
