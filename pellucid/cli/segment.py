"""`pellucid segment`: classify each pixel of images, folders of images and videos."""

import argparse
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP

if TYPE_CHECKING:
    from torch import Tensor

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
SHOWN = 4  # classes per image in text output


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser("segment", "Classify each pixel of images of any size.")
    it.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    it.add_argument("source", metavar="IMAGE|FOLDER|VIDEO", help="an image, a folder of images, a GIF or a video")
    it.add_argument(
        "--crf",
        action="store_true",
        help="refine the masks along edges of the image by a conditional random field (slower)",
    )
    it.add_argument("--out", metavar="DIR", required=True, help="output folder")
    return it.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write an overlay, an index PNG and the areas of each picture, and print the areas."""
    from pellucid.cli.models import open_model
    from pellucid.cli.out import emit, percent, say
    from pellucid.tasks.segment import Segmenter, write_segmentation

    segmenter, out = Segmenter(open_model(args.model), args.crf), Path(args.out)
    rows = []
    for name, image in _pictures(Path(args.source)):
        found = segmenter(image)
        files = write_segmentation(out, name, image, found)
        areas = found.areas()
        rows.append({"image": name, "files": files, "areas": areas})
        if not args.json:
            largest = sorted(areas.items(), key=lambda pair: -pair[1])[:SHOWN]
            say(f"{files['overlay']}: {', '.join(f'{one} {percent(share)}' for one, share in largest if share)}")
    if args.json:
        emit({"model": args.model, "pictures": rows})
    return 0


def _pictures(source: Path) -> Iterator[tuple[str, "Tensor"]]:
    """Yield each image's name for output files, and the image (3, H, W), uint8."""
    from pellucid.data import load_image
    from pellucid.errors import PellucidError
    from pellucid.tasks.gestures.frames import video_frames

    if not source.exists():
        raise PellucidError(f"{source} is missing; give a picture, a folder of pictures, a GIF or a video")
    if source.is_dir():
        files = sorted(file for file in source.iterdir() if file.suffix.lower() in PICTURES)
        if not files:
            raise PellucidError(f"{source} holds no pictures; give a folder with {', '.join(PICTURES[:3])} files in it")
        stems = [file.stem for file in files]
        for file in files:
            yield (file.stem if stems.count(file.stem) == 1 else file.name), load_image(file)
    elif source.suffix.lower() in PICTURES:
        yield source.stem, load_image(source)
    else:
        with closing(video_frames(source)) as frames:
            for frame in frames:
                yield f"{source.stem}-{frame.number:06d}", frame.picture
