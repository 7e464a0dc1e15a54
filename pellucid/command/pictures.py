"""Predict on the images of the arguments IMAGE|FOLDER|VIDEO and --camera: one loop for all commands."""

import argparse
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.command.args import Parser
from pellucid.command.out import emit, note_skipped, say
from pellucid.errors import PellucidError
from pellucid.files import PICTURE_SUFFIXES
from pellucid.predictor import Picture, Predictor

if TYPE_CHECKING:
    from torch import Tensor

SOURCE_HELP = "an image, a folder of images, a GIF or a video"
STILL_SUFFIXES = (*PICTURE_SUFFIXES, ".gif")  # a GIF in a folder, or among several files, counts as its first image
BATCH_SIZE = 16  # images in a batch
BATCH_PIXELS = 4_000_000  # a batch ends at this number of pixels, so that large images are read one by one


def add_source(parser: Parser) -> Parser:
    """Add the arguments that `predict_pictures` needs, and return the parser."""
    parser.add_argument("source", metavar="IMAGE|FOLDER|VIDEO", nargs="?", help=SOURCE_HELP)
    parser.add_argument("--camera", metavar="N", type=int, help="a camera by its number, from 0; Ctrl-C ends it")
    return parser


def check_source(args: argparse.Namespace) -> None:
    """Raise PellucidError unless exactly one source is given."""
    if (args.camera is not None) == bool(args.source):
        raise PellucidError(f"give either {SOURCE_HELP}, or --camera N")


def predict_pictures(args: argparse.Namespace, predictor: Predictor, **about: Any) -> int:
    """Predict on all pictures that can be read, print each result, and return the exit code.

    about: values for the JSON object besides those of the predictor. Why pictures were skipped is printed on stderr,
    each message once. Raises PellucidError unless exactly one source is given.
    """
    rows: list[Mapping[str, Any]] = []
    faults: dict[str, str] = {}
    with until_interrupted(args):
        for batch in read_batches(args, predictor, faults):
            for (picture, _), found in zip(batch, predictor.predict(batch), strict=True):
                if isinstance(found, PellucidError):
                    faults[picture.file] = str(found)
                    continue
                rows.append(found.values)
                if not args.json:
                    say(found.line)
    skipped = note_skipped(faults)
    if rows:
        values, file = predictor.finish(rows)
        if args.json:
            emit({"model": args.model, **about, **values, "skipped": skipped})
        elif file is not None:
            say(f"wrote {file}")
    return 2 if faults else 0


def read_batches(
    args: argparse.Namespace, predictor: Predictor, faults: dict[str, str]
) -> Iterator[list[tuple[Picture, "Tensor"]]]:
    """Yield batches of the images that can be read; batches of one image for a camera.

    The errors of the other images are added to `faults` by file, and so is the error that ends a video or a camera
    early; before its first image that error is raised.
    """
    check_source(args)
    camera = args.camera is not None
    batch: list[tuple[Picture, Tensor]] = []
    pixels, started = 0, False
    with closing(_camera(args.camera, predictor) if camera else _sources(args.source, predictor)) as found:
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
            faults[f"camera {args.camera}" if camera else str(args.source)] = str(error)
    if batch:
        yield batch


def until_interrupted(args: argparse.Namespace) -> AbstractContextManager[None]:
    """Return a context that ends without an error at Ctrl-C if the images are from a camera."""
    return nullcontext() if args.camera is None else suppress(KeyboardInterrupt)


def pictures(source: Path, predictor: Predictor) -> Generator[Picture, None, None]:
    """Yield the images of one source, which the predictor reads: an image file, a folder or a video.

    Before the first image, except of a video, the predictor checks its outputs. Raises PellucidError for a source
    without images.
    """
    if not source.exists():
        raise PellucidError(f"{source} is missing; give {SOURCE_HELP}")
    if source.is_dir():
        files = sorted(file for file in source.iterdir() if file.suffix.lower() in STILL_SUFFIXES)
        if not files:
            raise PellucidError(
                f"{source} contains no images; give a folder with {', '.join(PICTURE_SUFFIXES[:3])} files in it"
            )
        yield from _of_files(files, predictor, [file.name for file in files])
    elif source.suffix.lower() in PICTURE_SUFFIXES:
        yield from _of_files([source], predictor, [source.name])
    else:
        from pellucid.data.video import video_frames

        with closing(video_frames(source)) as frames:
            for frame in frames:
                yield _frame(f"{source.stem}-{frame.number:06d}", frame, predictor)


def _sources(sources: str | list[str], predictor: Predictor) -> Generator[Picture, None, None]:
    """Yield the images of one source, or of a list: several image files, which are named as they are given."""
    if isinstance(sources, str):
        yield from pictures(Path(sources), predictor)
        return
    files = [Path(source) for source in sources]
    video = files[0].is_file() and files[0].suffix.lower() not in STILL_SUFFIXES
    if len(files) == 1 and (video or files[0].is_dir()):
        yield from pictures(files[0], predictor)
    else:
        yield from _of_files(files, predictor, sources)


def _of_files(files: Sequence[Path], predictor: Predictor, shown: Sequence[str]) -> Iterator[Picture]:
    stems = [file.stem for file in files]
    names = [file.stem if stems.count(file.stem) == 1 else file.name for file in files]
    predictor.check(names, files)
    for name, file, text in zip(names, files, shown, strict=True):
        yield Picture(name, text, partial(predictor.read, file))


def _camera(number: int, predictor: Predictor) -> Generator[Picture, None, None]:
    """Yield the newest frame of a camera, again and again."""
    from pellucid.data.video import camera_frames

    with closing(camera_frames(number)) as frames:
        for frame in frames:
            yield _frame(f"camera-{frame.number:06d}", frame, predictor)


def _frame(name: str, frame: Any, predictor: Predictor) -> Picture:
    return Picture(name, name, partial(predictor.frame, frame.picture), frame.number)
