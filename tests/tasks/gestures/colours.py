"""A classifier of the mean colour of a picture, whose outputs can be computed by hand."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pellucid.calibration.confidence import Confidence
from pellucid.combine import Sequential
from pellucid.layers import Dense, Flatten
from pellucid.model import Model

SIDE = 8
RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)
PURE = float(np.exp(6) / (np.exp(6) + 2))  # the softmax of 6, 0, 0


def colour_model(confidence: Confidence | None = Confidence(1.0, 0.9)) -> Model:  # noqa: B008 (frozen)
    """Return a model whose logits are six times the mean of each channel."""
    net = Sequential(flatten=Flatten(), out=Dense(3))
    model = Model(net, input_shape=(3, SIDE, SIDE), classes=["red", "green", "blue"])
    weight = torch.eye(3).repeat_interleave(SIDE * SIDE, 1) * 6 / SIDE**2  # (3, 192)
    model.params["out"]["weight"].copy_(weight)
    model.confidence = confidence
    return model


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> Path:
    """Draw a picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def tensor(colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> torch.Tensor:
    """Return a picture of one colour (3, H, W), uint8."""
    return torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, size[1], size[0]).contiguous()


def animation(path: Path, colours: list[tuple[int, int, int]], milliseconds: int = 200) -> Path:
    """Draw an animated GIF with a frame of each colour."""
    first, *more = [Image.new("RGB", (40, 30), colour) for colour in colours]
    # Pillow merges equal consecutive frames; a moving dot makes them differ.
    for k, frame in enumerate([first, *more]):
        frame.putpixel((k % 40, k // 40), (255, 255, 255))
    first.save(path, save_all=True, append_images=more, duration=milliseconds, disposal=2)
    return path
