"""Unusual names of classes and images: a conversion must keep them exactly or refuse them."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder
from pellucid.data.annotations import FORMATS
from pellucid.data.annotations.convert import WRITERS, convert

NAME_KINDS = ("names",)
NAME_PIECES = (
    "a", "b", "cat", " ", "  ", "\t", "\n", "\r", "\x00", "\x01", "\x0b", "\x0c", "\x1b", "\x1c", "\x7f", "\x85",
    "\x9b", "\xa0", "\xad", "\u0301", "\u200b", "\u202e", "\u2028", "\u3000", "\ud800", "\udcff", "\ufeff", "\ufffe",
    "\uffff", "\U0001f600", "\U0010ffff", "日", "é", "<", ">", "&", "&amp;", "&#1;", "]]>", "<!--", "<name>", "</name>",
    '"', "'", ":", ": ", "#", " #", "- ", "[", "{", "}", "*a", "&a", "!", "%", "@", "`", "|", "~", "null", "yes", "1",
    "1e3", "\\", "\\n",
)  # fmt: skip


def write_names(kind: str, path: Path) -> None:
    """Write the image of the data sets."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(path, "PNG")


def write_names_case(kind: str, original: Path, path: Path, rng: random.Random) -> None:
    """Write a case as JSON: a target format, random names of classes and the name of one image."""

    def name() -> str:
        return "".join(rng.choice(NAME_PIECES) for _ in range(rng.choice((1, 1, 2, 3, 8))))

    names = [name() for _ in range(rng.choice((1, 2, 3)))]
    image = name() if rng.random() < 0.3 else "a"
    path.write_text(
        json.dumps(
            {"to": rng.choice((*(name for name in FORMATS if name in WRITERS), "voc")), "names": names, "image": image}
        )
    )


def outcome_of_names(path: Path, image: Path) -> str:
    """Convert the case, and return "refused", "same" or a description of the fault; image: path of an image file."""
    case = json.loads(path.read_text())
    folder, out = path.with_suffix(".set"), path.with_suffix(".out")
    names, file = case["names"], f"{case['image']}.png"
    try:
        (folder / "train").mkdir(parents=True)
        try:
            shutil.copy(image, folder / "train" / file)
        except (OSError, ValueError):  # not a valid file name: it contains a slash, a NUL or a surrogate
            file = "a.png"
            shutil.copy(image, folder / "train" / file)
        entry = {"id": 1, "file_name": file, "height": 40, "width": 50}
        boxes = [{"id": k, "image_id": 1, "category_id": k, "bbox": [k, 1, 20, 30]} for k in range(len(names))]
        categories = [{"id": k, "name": name} for k, name in enumerate(names)]
        content = {"images": [entry], "annotations": boxes, "categories": categories}
        (folder / "train.json").write_text(json.dumps(content))
        convert(folder, out, case["to"])
        source = DetectionFolder(out, "train" if case["to"] in ("voc", "coco", "yolo") else "")
        names_after = [(source.classes or ())[one.label] for one in source.records[0].instances]
        image_name = source.names[0].rpartition("/")[2]
        return (
            "same"
            if (names_after, image_name) == (names, file)
            else f"changed: {names!r} to {names_after!r}, {file!r} to {image_name!r}"
        )
    except PellucidError as error:
        message = str(error)
        return (
            "refused"
            if folder.name in message and "\n" not in message and message.isprintable()
            else f"message: {message!r}"
        )
    except Exception as error:
        return f"traceback: {type(error).__name__}: {' '.join(str(error).split()):.300}"
    finally:
        for directory in (folder, out):
            shutil.rmtree(directory, ignore_errors=True)
