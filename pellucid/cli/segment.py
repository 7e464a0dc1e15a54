"""`pellucid segment`: classify each pixel of images, folders of images and videos."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.data.images import Mode

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
    return it.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write files for each picture and print its areas, and on stderr what is wrong with pictures left out."""
    from pellucid.cli.models import open_model
    from pellucid.cli.out import emit, percent, say
    from pellucid.errors import PellucidError
    from pellucid.tasks.segment import Segmenter, write_segmentation
    from pellucid.text import note

    segmenter, out = Segmenter(open_model(args.model, args.device), args.crf), Path(args.out)
    rows: list[dict[str, Any]] = []
    faults: dict[str, str] = {}
    for name, read in _pictures(Path(args.source), out, segmenter.mode):
        try:
            image = read()
            found = segmenter(image)
        except PellucidError as error:
            faults[name] = str(error)
            continue
        files = write_segmentation(out, name, image, found)
        areas = found.areas()
        rows.append({"image": name, "files": files, "areas": areas})
        if not args.json:
            largest = sorted(areas.items(), key=lambda pair: -pair[1])[:SHOWN]
            say(f"{files['overlay']}: {', '.join(f'{one} {percent(share)}' for one, share in largest if share)}")
    for said in dict.fromkeys(faults.values()):
        note(said)
    if args.json and rows:
        skipped = [{"image": name, "reason": said} for name, said in faults.items()]
        emit({"model": args.model, "pictures": rows, "skipped": skipped})
    return 2 if faults else 0


def _pictures(source: Path, out: Path, mode: "Mode") -> Iterator[tuple[str, Callable[[], "Tensor"]]]:
    """Yield each image's name for output files, and a function that reads it (3, H, W), or (1, H, W) for mode "L".

    Raises PellucidError, before the first image, where the files in `out` would overwrite one that is not an output.
    """
    from pellucid.data import load_image
    from pellucid.data.images import luma
    from pellucid.errors import PellucidError
    from pellucid.tasks.gestures.frames import video_frames
    from pellucid.tasks.segment.segmenter import check_files

    if not source.exists():
        raise PellucidError(f"{source} is missing; give a picture, a folder of pictures, a GIF or a video")
    if source.is_dir() or source.suffix.lower() in PICTURES:
        files = [source]
        if source.is_dir():
            files = sorted(file for file in source.iterdir() if file.suffix.lower() in PICTURES)
        if not files:
            raise PellucidError(f"{source} holds no pictures; give a folder with {', '.join(PICTURES[:3])} files in it")
        stems = [file.stem for file in files]
        names = [file.stem if stems.count(file.stem) == 1 else file.name for file in files]
        check_files(out, names, files)
        for name, file in zip(names, files, strict=True):
            yield name, partial(load_image, file, mode=mode)
    else:
        with closing(video_frames(source)) as frames:
            for frame in frames:
                picture = luma(frame.picture) if mode == "L" else frame.picture
                yield f"{source.stem}-{frame.number:06d}", lambda picture=picture: picture
