"""Small networks as people write them, with random weights and without biases, and the score that is explained."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASS = 1


class Branches(nn.Module):
    """Functions and sums instead of modules, and one ReLU module used three times."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = (nn.Conv2d(3 if k == 0 else 6, 6, 3, padding=1) for k in range(3))
        self.relu = nn.ReLU()
        self.scores = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        x = self.relu(x + self.left(x))
        return self.scores(torch.cat([F.relu(self.right(x)), x], 1).mean((2, 3)))


class Attention(nn.Module):
    """A vision transformer of one block."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, 4)
        self.norm, self.last_norm = nn.LayerNorm(12), nn.LayerNorm(12)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 12))
        self.scores = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        normed = self.norm(tokens)
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        return self.scores((tokens + self.mlp(self.last_norm(tokens))).mean(1))


class Frames(nn.Module):
    """A convolution of each frame, and an LSTM over the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.lstm = nn.LSTM(6, 8, batch_first=True)
        self.scores = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        columns = F.relu(self.conv(x)).mean(2).transpose(1, 2)
        return self.scores(self.lstm(columns)[0][:, -1])


class ChannelsLast(nn.Module):
    """A network for images (N, H, W, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = plain()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.permute(0, 3, 1, 2))


class OneNumber(nn.Module):
    """A regression with outputs (N,)."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.value = plain(), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.value(F.relu(self.body(x)))[:, 0]


class TwoInputs(nn.Module):
    """A picture and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense, self.scores = nn.Conv2d(3, 6, 3), nn.Linear(7, 6), nn.Linear(12, 5)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.scores(torch.cat([F.relu(self.conv(x)).mean((2, 3)), torch.tanh(self.dense(z))], 1))


def plain() -> nn.Module:
    """Return a network of modules only."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(128, 5),
    )  # fmt: skip


def mobile() -> nn.Module:
    """Return a network with ReLU6, batch normalization and a convolution by channels."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU6(),
        nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.BatchNorm2d(6), nn.ReLU6(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 5),
    )  # fmt: skip


def dense_map() -> nn.Module:
    """Return a network with scores at each pixel."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.ConvTranspose2d(6, 6, 2, 2), nn.ReLU(),
        nn.Conv2d(6, 4, 1),
    )  # fmt: skip


def signals() -> nn.Module:
    """Return a network for signals (N, C, L)."""
    return nn.Sequential(
        nn.Conv1d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv1d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14, 5)
    )


def volumes() -> nn.Module:
    """Return a network for volumes (N, C, D, H, W)."""
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 216, 5)
    )


@dataclass(frozen=True)
class Case:
    """A network, the shapes of its inputs, and the explained score."""

    name: str
    make: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...] = ((3, 16, 16),)
    target: Any = CLASS  # for Pellucid
    score: Callable[[Tensor], Tensor] = lambda y: y[:, CLASS]  # the same as a function of the outputs, (N,)
    cam_layer: str = ""  # the module whose maps Grad-CAM weighs, "" for networks without maps

    def draw(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """Return the network in float64 without biases, and two examples of each input."""
        torch.manual_seed(0)
        module = self.make().double().eval()
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if "bias" in name:
                    parameter.zero_()
            for name, buffer in module.named_buffers():
                if name.endswith("running_mean"):
                    buffer.zero_()
        return module, tuple(torch.rand(2, *shape).double() for shape in self.shapes)


REGION = torch.zeros(4, 16, 16)
REGION[CLASS, 4:9, 2:12] = 1
CASES = (
    Case("modules only", plain, cam_layer="3"),
    Case("functions, sums, a ReLU used 3 times", Branches, cam_layer="right"),
    Case("batch norm, ReLU6", mobile, cam_layer="3"),
    Case("attention, layer norm, GELU", Attention),
    Case("LSTM over columns", Frames, cam_layer="conv"),
    Case("images (N, H, W, C)", ChannelsLast, ((16, 16, 3),), cam_layer="body.3"),
    Case("one number (N,)", OneNumber, target=None, score=lambda y: y, cam_layer="body.3"),
    Case("a class over a region", dense_map, target=REGION, score=lambda y: (y * REGION).flatten(1).sum(1),
         cam_layer="3"),
    Case("a difference of two classes", plain, target={1: 1.0, 3: -1.0}, score=lambda y: y[:, 1] - y[:, 3],
         cam_layer="3"),
    Case("a picture and a vector", TwoInputs, ((3, 16, 16), (7,)), cam_layer="conv"),
    Case("signals (N, C, L)", signals, ((3, 16),), cam_layer="2"),
    Case("volumes (N, C, D, H, W)", volumes, ((1, 8, 8, 8),), cam_layer="2"),
)  # fmt: skip
