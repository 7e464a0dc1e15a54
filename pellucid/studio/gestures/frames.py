"""The frames of each class that a page has collected, and which of them are held out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import torch
from PIL import Image
from torch import Tensor

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.settings.checks import check
from pellucid.base.text import shown
from pellucid.data.images import load_image

MAX_CLASSES = 12
MAX_FRAMES = 1_000  # of all classes; 200 MB in memory at most
MAX_NAME = 40  # characters of the name of a class, which is also the name of a folder
MIN_SIDE, MAX_SIDE = 48, 256  # pixels, height and width of a frame
MIN_FRAMES = 5  # of a class, so that one of them is held out
HELD_OUT_DIVISOR = 5  # the last fifth of each stretch is held out
FORBIDDEN = '/\\:*?"<>|'  # characters in the names of folders


class Frame(NamedTuple):
    """A frame (3, H, W) uint8, and the number of its stretch: the frames of one hold of a button."""

    stretch: int
    picture: Tensor


@dataclass
class ClassFrames:
    """The frames of each class by its name, in the order of time. Methods raise PellucidError for what is refused."""

    by_class: dict[str, list[Frame]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of the frames of all classes."""
        return sum(len(frames) for frames in self.by_class.values())

    def of(self, name: str) -> list[Frame]:
        """Return the frames of a class."""
        if name not in self.by_class:
            raise PellucidError(f"no class {shown(name)}{nearest(name, self.by_class)}; add it first")
        return self.by_class[name]

    def held_out(self, name: str) -> list[Tensor]:
        """Return the held-out pictures of a class."""
        frames = self.of(name)
        are_held_out = held_out([frame.stretch for frame in frames])
        return [frame.picture for frame, is_held_out in zip(frames, are_held_out, strict=True) if is_held_out]

    def add_class(self, name: str) -> None:
        """Add a class without frames."""
        self._check_name(name)
        check(len(self.by_class) < MAX_CLASSES, "classes", f"at most {MAX_CLASSES}", len(self.by_class) + 1)
        self.by_class[name] = []

    def rename(self, name: str, new_name: str) -> None:
        """Give a class another name; its place remains."""
        self.of(name)
        self._check_name(new_name, replaced=name)
        self.by_class = {new_name if key == name else key: frames for key, frames in self.by_class.items()}

    def remove(self, name: str) -> None:
        """Remove a class with its frames."""
        self.of(name)
        del self.by_class[name]

    def add(self, name: str, frame: Frame) -> None:
        """Add a frame to a class."""
        frames = self.of(name)
        check_picture(frame.picture)
        if len(self) >= MAX_FRAMES:
            raise PellucidError(f"{MAX_FRAMES:,} frames are collected, which is the limit; remove some")
        frames.append(frame)

    def remove_stretch(self, name: str, stretch: int) -> None:
        """Remove the frames of one stretch from a class."""
        self.by_class[name] = [frame for frame in self.of(name) if frame.stretch != stretch]

    def remove_frame(self, name: str, index: int, count: int) -> None:
        """Remove one frame of a class; count: how many the class has, so that no frame is mistaken for another."""
        frames = self.of(name)
        if count != len(frames):  # another tab with the same collection has changed it
            raise PellucidError(f"{shown(name)} has {len(frames)} frames by now, not {count}; open them again")
        check(0 <= index < count, "index", f"from 0 to {count - 1}", index)
        self.by_class[name] = frames[:index] + frames[index + 1 :]

    def copy(self) -> Self:
        """Return a copy with lists of its own."""
        return type(self)({name: list(frames) for name, frames in self.by_class.items()})

    def are_same(self, other: Self) -> bool:
        """Return whether another collection has the very same frames in the same classes."""
        own, others = (
            {name: [id(frame) for frame in frames] for name, frames in one.by_class.items()} for one in (self, other)
        )
        return own == others

    def write(self, folder: Path) -> None:
        """Write the frames as train/CLASS/0001.png, and those that are held out as test/CLASS/0001.png."""
        check(len(self.by_class) > 1, "classes", "at least two", len(self.by_class))
        for name, frames in self.by_class.items():
            if len(frames) < MIN_FRAMES:
                raise PellucidError(f"{shown(name)} has {len(frames)} frames; collect at least {MIN_FRAMES} of it")
        for name, frames in self.by_class.items():
            for part in ("train", "test"):
                (folder / part / name).mkdir(parents=True)
            are_held_out = held_out([frame.stretch for frame in frames])
            for number, (frame, is_held_out) in enumerate(zip(frames, are_held_out, strict=True), 1):
                part = "test" if is_held_out else "train"
                pixels = frame.picture.permute(1, 2, 0).contiguous().numpy()
                Image.fromarray(pixels).save(folder / part / name / f"{number:04d}.png", compress_level=1)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the frames that `write` wrote.

        A stretch ends where training frames follow held-out ones, since the last frames of each stretch are held out.
        """
        result = cls()
        files = [file for part in ("train", "test") for file in folder.glob(f"{part}/*/*.png") if not file.is_symlink()]
        check(len(files) <= MAX_FRAMES, f"the frames in {shown(str(folder))}", f"at most {MAX_FRAMES:,}", len(files))
        for name in sorted({file.parent.name for file in files}):
            result.add_class(name)
            stretch = 1
            was_held_out = False
            for file in sorted((file for file in files if file.parent.name == name), key=lambda file: file.name):
                is_held_out = file.parent.parent.name == "test"
                stretch += was_held_out and not is_held_out
                was_held_out = is_held_out
                result.add(name, Frame(stretch, load_image(file)))
        return result

    def _check_name(self, name: str, replaced: str = "") -> None:
        """Refuse the name of a class that could not be the name of a folder, or that another class has."""
        is_length_valid = 0 < len(name) <= MAX_NAME and name == name.strip(" .")
        has_valid_characters = name.isprintable() and not any(character in name for character in FORBIDDEN)
        if not (is_length_valid and has_valid_characters):
            raise PellucidError(
                f"the name of a class has 1 to {MAX_NAME} characters, without {FORBIDDEN} and a dot or a space at an "
                f"end, not {shown(name)}"
            )
        for other in self.by_class:
            if other != replaced and other.casefold() == name.casefold():  # the same folder on some file systems
                raise PellucidError(f"there is a class {shown(other)} already; choose another name")


def check_picture(picture: Tensor) -> None:
    """Raise PellucidError unless a tensor of the page is a picture of the accepted sizes."""
    is_picture = picture.dtype == torch.uint8 and picture.dim() == 3 and picture.shape[0] == 3
    has_size = is_picture and all(MIN_SIDE <= side <= MAX_SIDE for side in picture.shape[1:])
    size = f"uint8 (3, H, W), {MIN_SIDE} to {MAX_SIDE} pixels high and wide"
    check(has_size, "frame", size, f"{picture.dtype} {tuple(picture.shape)}")


def held_out(stretches: Sequence[int]) -> list[bool]:
    """Return whether each frame of a class is held out, given its stretch: the last fifth of each stretch is.

    Neighbours in time are nearly the same, so a choice by chance would test on what was learned. Of a class whose
    stretches all have fewer than five frames, the last fifth of all frames is held out.
    """
    lengths = Counter(stretches)
    seen = Counter[int]()
    result = list[bool]()
    for stretch in stretches:
        seen[stretch] += 1
        first = lengths[stretch] - lengths[stretch] // HELD_OUT_DIVISOR
        result.append(seen[stretch] > first)
    if not any(result):
        first = len(stretches) - len(stretches) // HELD_OUT_DIVISOR
        result = [position >= first for position in range(len(stretches))]
    return result
