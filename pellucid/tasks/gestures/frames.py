"""Frames one after the other: from an animated GIF, a folder of pictures or a video file."""

import io
import os
import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pellucid.data.images import DAMAGE, PIXEL_LIMIT, load_image, read_file, strict_warnings
from pellucid.data.tree import open_tree
from pellucid.errors import PellucidError
from pellucid.tasks.gestures.frame import Frame, Frames, check_every

GIF = (b"GIF87a", b"GIF89a")
UNTIMED = 0.1  # seconds that browsers show a GIF's frame for which it tells no time


def video_frames(path: str | os.PathLike[str], every: int = 1) -> Frames:
    """Yield every `every`-th frame of an animated GIF, of a folder in the order of its numbers, or of a video file.

    GIF and folders need Pillow only, any other file OpenCV. Raises PellucidError for what is missing or cannot be
    read, at the frame where that shows.
    """
    check_every(every)
    path = Path(path)
    if path.is_dir():
        return _folder(path, every)
    if not path.is_file():
        raise PellucidError(f"{path} is missing; give a video file, an animated GIF or a folder of frames")
    with path.open("rb") as file:
        start = file.read(len(GIF[0]))
    if start in GIF:
        return _gif(path, every)
    from pellucid.tasks.gestures.opencv import file_frames

    return file_frames(path, every)


def _folder(path: Path, every: int) -> Frames:
    with open_tree(path) as tree:
        names = sorted((name for name in tree.names if "/" not in name), key=_numbered)
        if not names:
            raise PellucidError(f"{path} holds no frames; give a folder with picture files in it")
        dropped, seen, fault = 0, False, None
        for number in range(0, len(names), every):
            try:
                picture = load_image(tree.read(names[number]), tree.where(names[number]))
            except PellucidError as error:
                dropped, fault = dropped + 1, error
                continue
            yield Frame(number, None, picture, dropped)
            dropped, seen = 0, True
        if fault is not None and not seen:
            raise fault


def _numbered(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts frame2 before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _gif(path: Path, every: int) -> Frames:
    data, number, seconds = read_file(path), 0, 0.0
    try:
        with strict_warnings():
            animation = Image.open(io.BytesIO(data), formats=["GIF"])
        with animation:
            while True:
                with strict_warnings():  # not around the yield: whoever takes the frame has warnings of their own
                    picture, lasts = _gif_frame(animation, path)
                if number % every == 0:
                    yield Frame(number, seconds, picture)
                number, seconds = number + 1, seconds + lasts
                try:
                    with strict_warnings():
                        animation.seek(number)
                except EOFError:
                    return
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PellucidError(f"{path} is damaged at frame {number} ({reason}); replace it") from error


def _gif_frame(animation: Image.Image, path: Path) -> tuple[Tensor, float]:
    """Return the picture at which an animation stands, transparency on white, and how long it is shown, in seconds."""
    width, height = animation.size
    if width * height > PIXEL_LIMIT:
        raise PellucidError(f"{path} declares {width}x{height} pixels, above the limit of {PIXEL_LIMIT}; shrink it")
    picture = animation.convert("RGBA")
    ground = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    array = np.array(Image.alpha_composite(ground, picture).convert("RGB"))  # (H, W, 3)
    lasts = animation.info.get("duration", 0) / 1000  # milliseconds
    return torch.from_numpy(array).permute(2, 0, 1).contiguous(), lasts or UNTIMED
