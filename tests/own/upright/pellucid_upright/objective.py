"""The objective: predict the direction of an angle, as its cosine and sine."""

from dataclasses import dataclass

import torch

from pellucid import Conv2d, Dense, Flatten, Layer, MaxPool2d, Objective, ReLU, Sequential
from pellucid.layers.base import Mode
from pellucid.sweep import backward

FULL_TURN = 360.0  # degrees


def directions(degrees: torch.Tensor) -> torch.Tensor:
    """Return angles (N,) as cosines and sines (N, 2)."""
    radians = torch.deg2rad(degrees)
    return torch.stack([radians.cos(), radians.sin()], 1)


def angle_error(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the mean absolute difference of angles in degrees, at most 180."""
    difference = (outputs[:, 0] - targets + FULL_TURN / 2) % FULL_TURN - FULL_TURN / 2
    return float(difference.abs().mean())


@dataclass(frozen=True)
class Angle(Objective):
    """The squared distance of the network's two outputs from the direction of the angle, averaged over the batch."""

    net: Layer

    def init(self, shape, rng):
        params, _ = super().init(shape, rng)
        return params, (1,)

    def gradients(self, params, batch, mode):
        y, cache = self.net.forward(params["net"], batch.images, mode)
        difference = y - directions(batch.targets)
        _, dparams = backward(self.net, params["net"], cache, 2 * difference / len(y))
        return {"loss": difference.square().sum(1).mean()}, {"net": dparams}

    def predict(self, params, images):
        y, _ = self.net.forward(params["net"], images, Mode(keep=False))
        return (torch.rad2deg(torch.atan2(y[:, 1], y[:, 0])) % FULL_TURN)[:, None]


def angle(width: int = 8) -> Angle:
    """Return the objective with a small convolutional network; width: filters of its first convolution."""
    return Angle(
        Sequential(
            conv1=Conv2d(width, 3, padding=1), relu1=ReLU(), pool1=MaxPool2d(2),
            conv2=Conv2d(2 * width, 3, padding=1), relu2=ReLU(), pool2=MaxPool2d(2),
            flat=Flatten(), dense=Dense(32), relu3=ReLU(), out=Dense(2),
        )
    )  # fmt: skip
