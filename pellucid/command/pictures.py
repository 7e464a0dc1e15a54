"""Read the images of the arguments IMAGE|FOLDER|VIDEO and --camera."""

import argparse
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pellucid.command.args import Parser
from pellucid.files import PICTURE_SUFFIXES

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.data.images import Mode

SOURCE_HELP = "an image, a folder of images, a GIF or a video"
BATCH_SIZE = 16  # images in a batch
BATCH_PIXELS = 4_000_000  # a batch ends at this number of pixels, so that large images are read one by one


class Picture(NamedTuple):
    """An image to read.

    name: for output files, different for each image. file: the file name. read: returns the image (C, H, W), uint8.
    frame: the index in a video or of a camera, from 0; None for image files.
    """

    name: str
    file: str
    read: Callable[[], "Tensor"]
    frame: int | None = None


Check = Callable[[Sequence[str], Sequence[Path]], None]  # called with (names, files); see `pictures`
Load = Callable[[bytes, str], "Tensor"]  # decodes an image file, given its bytes and its name, as (C, H, W)


def add_source(parser: Parser) -> Parser:
    """Add the arguments that `read_batches` needs, and return the parser."""
    parser.add_argument("source", metavar="IMAGE|FOLDER|VIDEO", nargs="?", help=SOURCE_HELP)
    parser.add_argument("--camera", metavar="N", type=int, help="a camera by its number, from 0; Ctrl-C ends it")
    return parser


def read_batches(
    args: argparse.Namespace, mode: "Mode", check: Check | None, faults: dict[str, str], load: Load | None = None
) -> Iterator[list[tuple[Picture, "Tensor"]]]:
    """Yield batches of the images that can be read; batches of one image for a camera.

    The errors of the other images are added to `faults` by file, and so is the error that ends a video or a camera
    early; before its first image that error is raised. check, load: see `pictures`; check is None where nothing is
    written. Raises PellucidError unless exactly one source is given.
    """
    from pellucid.errors import PellucidError

    camera = args.camera is not None
    if camera == (args.source is not None):
        raise PellucidError(f"give either {SOURCE_HELP}, or --camera N")
    batch: list[tuple[Picture, Tensor]] = []
    pixels, started = 0, False
    check = (lambda names, files: None) if check is None else check
    with closing(_camera(args.camera, mode) if camera else pictures(Path(args.source), mode, check, load)) as found:
        try:
            for picture in found:
                started = True
                try:
                    image = picture.read()
                except PellucidError as error:
                    faults[picture.file] = str(error)
                    continue
                batch.append((picture, image))
                pixels += image[0].numel()
                if camera or len(batch) == BATCH_SIZE or pixels >= BATCH_PIXELS:
                    yield batch
                    batch, pixels = [], 0
        except PellucidError as error:
            if not started:
                raise
            faults[f"camera {args.camera}" if camera else args.source] = str(error)
    if batch:
        yield batch


def until_interrupted(args: argparse.Namespace) -> AbstractContextManager[None]:
    """Return a context that ends without an error at Ctrl-C if the images are from a camera."""
    return nullcontext() if args.camera is None else suppress(KeyboardInterrupt)


def pictures(source: Path, mode: "Mode", check: Check, load: Load | None = None) -> Generator[Picture, None, None]:
    """Yield the images of an image file, a folder or a video, to be read as (3, H, W), or (1, H, W) for mode "L".

    check(names, files): called before the first image, except for videos; raises if outputs would overwrite other
    files. load: decodes an image file, in place of `load_image` with the mode; `read` raises PellucidError for a file
    with more pixels than `full_size` allows. Raises PellucidError for a source without images.
    """
    from pellucid.data import load_image
    from pellucid.data.images import full_size, luma
    from pellucid.data.video import video_frames
    from pellucid.errors import PellucidError

    decode = load or partial(load_image, mode=mode)

    def read(file: Path) -> "Tensor":
        return decode(full_size(file), str(file))

    if not source.exists():
        raise PellucidError(f"{source} is missing; give {SOURCE_HELP}")
    if source.is_dir() or source.suffix.lower() in PICTURE_SUFFIXES:
        files = [source]
        if source.is_dir():
            suffixes = (*PICTURE_SUFFIXES, ".gif")  # a GIF in a folder counts as its first image
            files = sorted(file for file in source.iterdir() if file.suffix.lower() in suffixes)
        if not files:
            raise PellucidError(
                f"{source} contains no images; give a folder with {', '.join(PICTURE_SUFFIXES[:3])} files in it"
            )
        stems = [file.stem for file in files]
        names = [file.stem if stems.count(file.stem) == 1 else file.name for file in files]
        check(names, files)
        for name, file in zip(names, files, strict=True):
            yield Picture(name, file.name, partial(read, file))
    else:
        with closing(video_frames(source)) as frames:
            for frame in frames:
                picture = luma(frame.picture) if mode == "L" else frame.picture
                name = f"{source.stem}-{frame.number:06d}"
                yield Picture(name, name, lambda picture=picture: picture, frame.number)


def _camera(number: int, mode: "Mode") -> Generator[Picture, None, None]:
    """Yield the newest frame of a camera, again and again."""
    from pellucid.data.images import luma
    from pellucid.data.video import camera_frames

    with closing(camera_frames(number)) as frames:
        for frame in frames:
            picture = luma(frame.picture) if mode == "L" else frame.picture
            name = f"camera-{frame.number:06d}"
            yield Picture(name, name, lambda picture=picture: picture, frame.number)
