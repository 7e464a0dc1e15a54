"""Zips of annotations with few bytes and many objects, each to be refused or read within limits of time and memory."""

import json
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder
from pellucid.data.annotations import FORMATS
from pellucid.data.annotations.convert import WRITERS, convert
from pellucid.data.annotations.lint import lint
from pellucid.data.annotations.sheet import contact_sheet
from pellucid.ops.masks import compress
from pellucid.report.figures.style import png

ARCHIVES = ("masks", "polygons", "dicts", "shapes", "lines", "yaml", "xml")
WRITTEN_FORMATS = [name for name in FORMATS if name in WRITERS]
IMAGE_SIDES = (40, 600, 2000, 8000)

Member = tuple[str, bytes]


def write_archives(kind: str, path: Path) -> None:
    """Write the images, one for each of IMAGE_SIDES, that the zips contain."""
    for side in IMAGE_SIDES:
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(f"{path}-{side}", "PNG")
    path.touch()


def write_archive_case(kind: str, original: Path, path: Path, rng: random.Random) -> None:
    """Write a zip of up to about 1 MB of annotations, compressed to between a thousandth and a third of their size."""
    side, stated_side = rng.choice(IMAGE_SIDES), rng.choice(IMAGE_SIDES)
    image, body = _IMAGE_PATHS[kind], _MEMBERS[kind](rng, rng.choice((side, stated_side)), int(10 ** rng.uniform(2, 6)))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for k in range(rng.choice((1, 1, 2, 10)) if side < max(IMAGE_SIDES) else 1):
            archive.write(f"{original}-{side}", image.replace("#", str(k)))
        for name, data in body:
            archive.writestr(name, data)
        archive.comment = rng.randbytes(2)


def outcome_of_archive(path: Path) -> str:
    """Return what a reader does with a zip, or a description of its fault; the last byte selects the reader.

    "refused": one line that names the file. "listed": faults of the annotations. "other": it was read.
    """
    read = _READERS[path.read_bytes()[-1] % len(_READERS)]
    out = path.with_suffix(".out")
    try:
        return read(path, out)
    except PellucidError as error:
        message = str(error)
        return (
            "refused"
            if path.name in message and "\n" not in message and message.isprintable()
            else f"message: {message!r}"
        )
    except Exception as error:
        return f"traceback: {type(error).__name__}: {' '.join(str(error).split()):.300}"
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _lint(path: Path, _: Path) -> str:
    return "listed" if lint(path).faults else "other"


def _show(path: Path, _: Path) -> str:
    png(contact_sheet([DetectionFolder(path)])[0])
    return "other"


def _convert(path: Path, out: Path) -> str:
    convert(path, out, WRITTEN_FORMATS[path.read_bytes()[-2] % len(WRITTEN_FORMATS)])
    return "other"


def _train(path: Path, _: Path) -> str:
    source = DetectionFolder(path, size=(None, 300)[path.read_bytes()[-2] % 2])
    for k in range(min(len(source), 2)):  # a batch
        source.example(k)
    return "other" if source.checksum else ""


_READERS: tuple[Callable[[Path, Path], str], ...] = (_lint, _show, _convert, _train)


def _coco(rng: random.Random, side: int, annotations: list[str], images: int = 10) -> list[Member]:
    size = {"height": side, "width": side}
    entries = [{"id": k, "file_name": f"{k}.png", **size} for k in range(rng.choice((1, images)))]
    names = [{"id": k, "name": f"c{k}"} for k in range(rng.choice((1, 1, 30_000)))]
    text = (
        f'{{"images":{json.dumps(entries)},"categories":{json.dumps(names)},"annotations":[{",".join(annotations)}]}}'
    )
    return [("train.json", text.encode())]


def _annotations(rng: random.Random, side: int, count: int, outline: str) -> list[str]:
    """Return annotations as JSON texts, equal except for their ids, of about `count` bytes in total."""
    box = [rng.randrange(side // 2), rng.randrange(side // 2), rng.randrange(1, side), rng.randrange(1, side)]
    fields = f'"image_id":0,"category_id":0,"bbox":{json.dumps(box)},"iscrowd":0,"segmentation":{outline}'
    return [f'{{"id":{k},{fields}}}' for k in range(max(1, count // (len(fields) + 15)))]


def _masks(rng: random.Random, side: int, count: int) -> list[Member]:
    kind = rng.randrange(4)
    if kind == 0:  # a few columns
        runs = [side * (side // 4), side * (side // 2), side * side - side * (side // 4) - side * (side // 2)]
    elif kind == 1:  # every second column
        runs = [side] * side
    elif kind == 2:  # every second one of the first pixels
        runs = [1] * min(count // 2, side * side - 1)
        runs.append(side * side - len(runs))
    else:  # holes
        runs = [side + 1, *([1, 1] * (side // 2 - 2) + [4 + side % 2]) * min(side // 2, count // side + 1)]
        runs.append(side * side - sum(runs))
    counts = json.dumps(compress(runs)) if rng.random() < 0.7 else json.dumps(runs, separators=(",", ":"))
    outline = f'{{"size":[{side},{side}],"counts":{counts}}}'
    return _coco(rng, side, _annotations(rng, side, count, outline))


def _polygons(rng: random.Random, side: int, count: int) -> list[Member]:
    points = rng.choice((4, 100, max(4, count // 12)))
    ends = [(-side, 2 * side), (0, side - 1)][rng.randrange(2)]
    polygon = [value for k in range(points) for value in (ends[k % 2], ends[k // 2 % 2] if points < 9 else k % side)]
    text = json.dumps([polygon] * rng.choice((1, 1, 20)), separators=(",", ":"))
    return _coco(rng, side, _annotations(rng, side, count, text))


def _dicts(rng: random.Random, side: int, count: int) -> list[Member]:
    item = rng.choice(("{}", "[]", "0", '{"id":1}', '{"bbox":[0,0,9,9]}', "[[]]", '""', "null"))
    return _coco(rng, side, [item] * (count // (len(item) + 1)))


def _shapes(rng: random.Random, side: int, count: int) -> list[Member]:
    kind, n_bytes = rng.randrange(4), 0
    shapes: list[str] = []
    while n_bytes < count:
        k = len(shapes)
        if kind == 0:
            shape = rng.choice(("{}", "[]", "0", '{"label":"a"}'))
        elif kind == 1:  # each shape has its own class
            shape = f'{{"label":"{k}","points":[[1,1],[9,9]],"shape_type":"rectangle"}}'
        elif kind == 2:  # key-points with many names
            label, points, shape_type = (k % 1999, [[1, 1]], "point") if k % 2 else ("a", [[1, 1], [9, 9]], "rectangle")
            shape = f'{{"label":"{label}","points":{points},"shape_type":"{shape_type}","group_id":{k // 2}}}'
        else:  # a polygon with many points
            points = "[1,1],[9,9],[1,9]," * (count // 18)
            shape = f'{{"label":"a","points":[{points}[9,1]],"shape_type":"polygon"}}'
        shapes.append(shape)
        n_bytes += len(shape) + 1
    text = f'{{"imagePath":"0.png","imageHeight":{side},"imageWidth":{side},"shapes":[{",".join(shapes)}]}}'
    return [("0.json", text.encode())]


def _lines(rng: random.Random, side: int, count: int) -> list[Member]:
    line = rng.choice(("x", "0", "0 .5 .5 1 1", "0 9 9 9 9", "0 .5 .5 0 0", "0 0 0 1 0 1 1 0 1", "9 .5 .5 1 1"))
    text = "\n".join([line] * (count // (len(line) + 1)))
    if rng.random() < 0.3:
        text = "\n".join(f"0 .5 .5 .{k % 97:02} .{k % 89:02}" for k in range(count // 14))
    if rng.random() < 0.1:
        text = text.replace("\n", " ")
    return [("data.yaml", b"names: [cat]"), ("labels/0.txt", text.encode())]


def _yaml(rng: random.Random, side: int, count: int) -> list[Member]:
    names = rng.choice((
        "names: [" + "a," * (count // 2) + "a]",
        "names: [" + ",".join(f"n{k}" for k in range(count // 7)) + "]",
        "names:\n" + "".join(f"  {k}: n{k}\n" for k in range(count // 14)),
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{chr(98 + k)}: &{chr(98 + k)} [{','.join(['*' + chr(97 + k)] * 9)}]\n" for k in range(20))
        + "names: *u\n",
        "names: " + "[" * (count // 2) + "]" * (count // 2),
        "names: " + "{a: " * (count // 5),
        "? " * (count // 2),
        "names: [" + "{a: b}," * (count // 7) + "]",
        "- " * (count // 2),
        "names: '" + "a" * count + "'",
        "names: [" + "'" * (count // 2) + "]",
        "#" * count,
        "&a " * (count // 3),
        "names: &a [*a]",
    ))  # fmt: skip
    if rng.random() < 0.2:
        return [
            ("classes.txt", "\n".join(f"n{k}" for k in range(count // 7)).encode()),
            ("labels/0.txt", b"0 .5 .5 1 1"),
        ]
    return [("data.yaml", names.encode()), ("labels/0.txt", b"0 .5 .5 1 1\n")]


def _xml(rng: random.Random, side: int, count: int) -> list[Member]:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    element = rng.choice((
        "<object/>", "<a/>", "<object><name>a</name></object>", f"<object><name>a</name>{box}</object>", "x<a/>",
        "<a>" * 40 + "</a>" * 40, "&lt;", "<!-- -->", "<![CDATA[x]]>", f"<x>{box}</x>", "\n", "<?a b?>",
    ))  # fmt: skip
    body = element * (count // len(element))
    if rng.random() < 0.3:
        body = "".join(f"<object><name>c{k}</name>{box}</object>" for k in range(count // 110))
    in_name = rng.random() < 0.2
    body = f"<object><name>{body}</name>{box}</object>" if in_name else body
    return [("0.xml", f"<annotation>{body}</annotation>".encode())]


_MEMBERS: dict[str, Callable[[random.Random, int, int], list[Member]]] = {
    "masks": _masks, "polygons": _polygons, "dicts": _dicts, "shapes": _shapes, "lines": _lines, "yaml": _yaml,
    "xml": _xml,
}  # fmt: skip
_IMAGE_PATHS = {
    "masks": "train/#.png", "polygons": "train/#.png", "dicts": "train/#.png", "shapes": "#.png",
    "lines": "images/#.png", "yaml": "images/#.png", "xml": "#.png",
}  # fmt: skip
