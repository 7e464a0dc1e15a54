"""Frames for tests of the view Teach: a shape in front of a bundled street, and a camera that shows them in turn."""

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from pellucid.data.samples.scenes import street

COLOURS = {"circle": (210, 40, 40), "square": (40, 170, 40), "cross": (40, 40, 210)}
SIDE = 62  # pixels of a shape, of a frame of 128 x 171
FRAMES_A_SECOND = 10
SECONDS = 4  # of each shape of the camera


def outline(shape: str) -> Image.Image:
    mask = Image.new("L", (SIDE, SIDE))
    draw, third = ImageDraw.Draw(mask), SIDE // 3
    if shape == "circle":
        draw.ellipse((2, 2, SIDE - 2, SIDE - 2), fill=255)
    elif shape == "square":
        draw.rectangle((6, 6, SIDE - 6, SIDE - 6), fill=255)
    else:
        draw.rectangle((third, 2, 2 * third, SIDE - 2), fill=255)
        draw.rectangle((2, third, SIDE - 2, 2 * third), fill=255)
    return mask


@cache
def _street(background: int) -> Image.Image:
    return street(background)[0]  # which takes longer than the rest of a frame


def picture(shape: str, background: int, number: int) -> Image.Image:
    """Return a shape near the middle of a street, moved, turned and lit by `number`."""
    rng = random.Random(f"{shape} {background} {number}")
    scene = _street(background)
    left, top = rng.randint(0, 30), rng.randint(0, 20)
    image = scene.crop((left, top, left + 440, top + 330)).resize((171, 128))
    mask = outline(shape).rotate(rng.uniform(-20, 20))
    corner = (54 + rng.randint(-10, 10), 33 + rng.randint(-10, 10))
    image.paste(Image.new("RGB", mask.size, COLOURS[shape]), corner, mask)
    light = rng.uniform(0.85, 1.15)
    return image.point([min(255, round(value * light)) for value in range(256)] * 3)


def frame(shape: str, background: int, number: int) -> Tensor:
    return torch.from_numpy(np.array(picture(shape, background, number))).permute(2, 0, 1)


def write_camera(file: Path, shapes: Sequence[str]) -> None:
    """Write a YUV4MPEG2 video, as Chromium's fake camera reads it, of each shape for SECONDS, 320 x 240."""
    with file.open("wb") as stream:
        stream.write(f"YUV4MPEG2 W320 H240 F{FRAMES_A_SECOND}:1 Ip A1:1 C420jpeg\n".encode())
        for shape in shapes:
            for number in range(SECONDS * FRAMES_A_SECOND):
                planes = picture(shape, 1, number).resize((320, 240)).convert("YCbCr").split()
                luma, *chroma = (np.array(plane) for plane in planes)
                stream.write(b"FRAME\n" + luma.tobytes())
                for plane in chroma:
                    stream.write(plane[::2, ::2].tobytes())
