"""DCGAN for digits of 28 x 28 pixels in plain PyTorch, with two optimizers and autograd."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LATENT, WIDTH, SLOPE = 100, 32, 0.2


def generator(inplace: bool) -> nn.Sequential:
    """Return the generator: from vectors (N, 100, 1, 1) to images (N, 1, 28, 28), by maps of 7, 14 and 28 pixels."""
    layers: list[nn.Module] = []
    sizes = ((LATENT, 2 * WIDTH, 7, 1, 0), (2 * WIDTH, WIDTH, 4, 2, 1))
    for inputs, filters, kernel, stride, padding in sizes:
        conv = nn.ConvTranspose2d(inputs, filters, kernel, stride, padding, bias=False)
        layers += [conv, nn.BatchNorm2d(filters), nn.ReLU(inplace)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(WIDTH, 1, 4, 2, 1, bias=False), nn.Tanh())


def discriminator(inplace: bool) -> nn.Sequential:
    """Return the discriminator: from images (N, 1, 28, 28) to logits (N, 1)."""
    layers: list[nn.Module] = [nn.Conv2d(1, WIDTH, 4, 2, 1, bias=False), nn.LeakyReLU(SLOPE, inplace)]
    layers += [
        nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * WIDTH),
        nn.LeakyReLU(SLOPE, inplace),
    ]
    return nn.Sequential(*layers, nn.Conv2d(2 * WIDTH, 1, 7, bias=False), nn.Flatten())


@dataclass
class Training:
    """Both networks and their optimizers; `step` is one step of the training of Goodfellow et al. 2014."""

    generator: nn.Module
    discriminator: nn.Module
    rate: float
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer] = field(init=False)

    def __post_init__(self) -> None:
        nets = self.generator, self.discriminator
        first, second = (torch.optim.Adam(net.parameters(), self.rate, betas=(0.5, 0.999), fused=True) for net in nets)
        self.optimizers = first, second

    def step(self, z: Tensor, real: Tensor) -> tuple[float, float]:
        """Train on a batch of latent vectors and real images; return the losses of discriminator and generator."""
        generator_optimizer, discriminator_optimizer = self.optimizers
        fake = self.generator(z)
        self.discriminator.requires_grad_(True)
        discriminator_optimizer.zero_grad()
        real_logits, fake_logits = self.discriminator(real), self.discriminator(fake.detach())
        ones, zeros = torch.ones_like(real_logits), torch.zeros_like(real_logits)
        discriminator_loss = F.binary_cross_entropy_with_logits(real_logits, ones) + F.binary_cross_entropy_with_logits(
            fake_logits, zeros
        )
        discriminator_loss.backward()
        discriminator_optimizer.step()
        self.discriminator.requires_grad_(False)
        generator_optimizer.zero_grad()
        generator_loss = F.binary_cross_entropy_with_logits(self.discriminator(fake), ones)
        generator_loss.backward()
        generator_optimizer.step()
        return discriminator_loss.item(), generator_loss.item()
