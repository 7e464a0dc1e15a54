"""The pictures of an IMAGE|FOLDER|VIDEO argument."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.data.images import Mode

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
HELP = "an image, a folder of images, a GIF or a video"


class Picture(NamedTuple):
    """name: for output files, different for each picture. file: its file name. read: returns it (C, H, W), uint8."""

    name: str
    file: str
    read: Callable[[], "Tensor"]


def pictures(source: Path, mode: "Mode", check: Callable[[Sequence[str], Sequence[Path]], None]) -> Iterator[Picture]:
    """Yield the pictures of an image, a folder or a video, which are read as (3, H, W), or (1, H, W) for mode "L".

    check(names, files) is called before the first picture, except of videos, to refuse outputs that would overwrite
    other files. Raises PellucidError for a source without pictures.
    """
    from pellucid.data import load_image
    from pellucid.data.images import luma
    from pellucid.errors import PellucidError
    from pellucid.tasks.gestures.frames import video_frames

    if not source.exists():
        raise PellucidError(f"{source} is missing; give a picture, a folder of pictures, a GIF or a video")
    if source.is_dir() or source.suffix.lower() in SUFFIXES:
        files = [source]
        if source.is_dir():
            files = sorted(file for file in source.iterdir() if file.suffix.lower() in SUFFIXES)
        if not files:
            raise PellucidError(f"{source} holds no pictures; give a folder with {', '.join(SUFFIXES[:3])} files in it")
        stems = [file.stem for file in files]
        names = [file.stem if stems.count(file.stem) == 1 else file.name for file in files]
        check(names, files)
        for name, file in zip(names, files, strict=True):
            yield Picture(name, file.name, partial(load_image, file, mode=mode))
    else:
        with closing(video_frames(source)) as frames:
            for frame in frames:
                picture = luma(frame.picture) if mode == "L" else frame.picture
                name = f"{source.stem}-{frame.number:06d}"
                yield Picture(name, name, lambda picture=picture: picture)
