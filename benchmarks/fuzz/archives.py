"""Zips of annotations with few bytes and many objects: each is refused, or read within the limits."""

import json
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from pellucid.data import DetectionFolder
from pellucid.data.annotations import FORMATS
from pellucid.data.annotations.convert import convert
from pellucid.data.annotations.lint import lint
from pellucid.data.annotations.sheet import contact_sheet
from pellucid.errors import PellucidError
from pellucid.ops.masks import compress
from pellucid.report.figures.style import png

ARCHIVES = ("masks", "polygons", "dicts", "shapes", "lines", "yaml", "xml")
SIDES = (40, 600, 2000, 8000)

Member = tuple[str, bytes]


def write_archives(kind: str, path: Path) -> None:
    """Write the images, one for each of SIDES, that the zips contain."""
    for side in SIDES:
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(f"{path}-{side}", "PNG")
    path.touch()


def write_archive_case(kind: str, whole: Path, path: Path, draw: random.Random) -> None:
    """Write one zip of up to about 1 MB of annotations, which take between a thousandth and a third of these bytes."""
    side, stated = draw.choice(SIDES), draw.choice(SIDES)
    image, body = _PLACES[kind], _BODIES[kind](draw, draw.choice((side, stated)), int(10 ** draw.uniform(2, 6)))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for k in range(draw.choice((1, 1, 2, 10)) if side < max(SIDES) else 1):
            archive.write(f"{whole}-{side}", image.replace("#", str(k)))
        for name, data in body:
            archive.writestr(name, data)
        archive.comment = draw.randbytes(2)


def outcome_of_archive(path: Path) -> str:
    """Return "refused", "listed" or "other", or what is wrong, of one way to read the zip, chosen by its last byte."""
    use = _USES[path.read_bytes()[-1] % len(_USES)]
    out = path.with_suffix(".out")
    try:
        return use(path, out)
    except PellucidError as error:
        said = str(error)
        return "refused" if path.name in said and "\n" not in said and said.isprintable() else f"message: {said!r}"
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
    convert(path, out, [*FORMATS][path.read_bytes()[-2] % len(FORMATS)])
    return "other"


def _train(path: Path, _: Path) -> str:
    source = DetectionFolder(path, size=(None, 300)[path.read_bytes()[-2] % 2])
    for k in range(min(len(source), 2)):  # a batch
        source.example(k)
    return "other" if source.checksum else ""


_USES: tuple[Callable[[Path, Path], str], ...] = (_lint, _show, _convert, _train)


def _coco(draw: random.Random, side: int, annotations: list[str], images: int = 10) -> list[Member]:
    size = {"height": side, "width": side}
    entries = [{"id": k, "file_name": f"{k}.png", **size} for k in range(draw.choice((1, images)))]
    names = [{"id": k, "name": f"c{k}"} for k in range(draw.choice((1, 1, 30_000)))]
    text = (
        f'{{"images":{json.dumps(entries)},"categories":{json.dumps(names)},"annotations":[{",".join(annotations)}]}}'
    )
    return [("train.json", text.encode())]


def _annotations(draw: random.Random, side: int, count: int, outline: str) -> list[str]:
    """Return annotations as text: alike, but for their ids."""
    box = [draw.randrange(side // 2), draw.randrange(side // 2), draw.randrange(1, side), draw.randrange(1, side)]
    rest = f'"image_id":0,"category_id":0,"bbox":{json.dumps(box)},"iscrowd":0,"segmentation":{outline}'
    return [f'{{"id":{k},{rest}}}' for k in range(max(1, count // (len(rest) + 15)))]


def _masks(draw: random.Random, side: int, count: int) -> list[Member]:
    kind = draw.randrange(4)
    if kind == 0:  # a few columns
        runs = [side * (side // 4), side * (side // 2), side * side - side * (side // 4) - side * (side // 2)]
    elif kind == 1:  # every second column
        runs = [side] * side
    elif kind == 2:  # every second pixel of the first ones
        runs = [1] * min(count // 2, side * side - 1)
        runs.append(side * side - len(runs))
    else:  # holes
        runs = [side + 1, *([1, 1] * (side // 2 - 2) + [4 + side % 2]) * min(side // 2, count // side + 1)]
        runs.append(side * side - sum(runs))
    counts = json.dumps(compress(runs)) if draw.random() < 0.7 else json.dumps(runs, separators=(",", ":"))
    outline = f'{{"size":[{side},{side}],"counts":{counts}}}'
    return _coco(draw, side, _annotations(draw, side, count, outline))


def _polygons(draw: random.Random, side: int, count: int) -> list[Member]:
    points = draw.choice((4, 100, max(4, count // 12)))
    far = [(-side, 2 * side), (0, side - 1)][draw.randrange(2)]
    polygon = [value for k in range(points) for value in (far[k % 2], far[k // 2 % 2] if points < 9 else k % side)]
    text = json.dumps([polygon] * draw.choice((1, 1, 20)), separators=(",", ":"))
    return _coco(draw, side, _annotations(draw, side, count, text))


def _dicts(draw: random.Random, side: int, count: int) -> list[Member]:
    item = draw.choice(("{}", "[]", "0", '{"id":1}', '{"bbox":[0,0,9,9]}', "[[]]", '""', "null"))
    return _coco(draw, side, [item] * (count // (len(item) + 1)))


def _shapes(draw: random.Random, side: int, count: int) -> list[Member]:
    kind, n = draw.randrange(4), 0
    shapes: list[str] = []
    while n < count:
        k = len(shapes)
        if kind == 0:
            shape = draw.choice(("{}", "[]", "0", '{"label":"a"}'))
        elif kind == 1:  # a class for each
            shape = f'{{"label":"{k}","points":[[1,1],[9,9]],"shape_type":"rectangle"}}'
        elif kind == 2:  # key-points of many names
            label, points, form = (k % 1999, [[1, 1]], "point") if k % 2 else ("a", [[1, 1], [9, 9]], "rectangle")
            shape = f'{{"label":"{label}","points":{points},"shape_type":"{form}","group_id":{k // 2}}}'
        else:  # one polygon of many points
            points = "[1,1],[9,9],[1,9]," * (count // 18)
            shape = f'{{"label":"a","points":[{points}[9,1]],"shape_type":"polygon"}}'
        shapes.append(shape)
        n += len(shape) + 1
    text = f'{{"imagePath":"0.png","imageHeight":{side},"imageWidth":{side},"shapes":[{",".join(shapes)}]}}'
    return [("0.json", text.encode())]


def _lines(draw: random.Random, side: int, count: int) -> list[Member]:
    line = draw.choice(("x", "0", "0 .5 .5 1 1", "0 9 9 9 9", "0 .5 .5 0 0", "0 0 0 1 0 1 1 0 1", "9 .5 .5 1 1"))
    text = "\n".join([line] * (count // (len(line) + 1)))
    if draw.random() < 0.3:
        text = "\n".join(f"0 .5 .5 .{k % 97:02} .{k % 89:02}" for k in range(count // 14))
    if draw.random() < 0.1:
        text = text.replace("\n", " ")
    return [("data.yaml", b"names: [cat]"), ("labels/0.txt", text.encode())]


def _yaml(draw: random.Random, side: int, count: int) -> list[Member]:
    names = draw.choice((
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
    if draw.random() < 0.2:
        return [
            ("classes.txt", "\n".join(f"n{k}" for k in range(count // 7)).encode()),
            ("labels/0.txt", b"0 .5 .5 1 1"),
        ]
    return [("data.yaml", names.encode()), ("labels/0.txt", b"0 .5 .5 1 1\n")]


def _xml(draw: random.Random, side: int, count: int) -> list[Member]:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    element = draw.choice((
        "<object/>", "<a/>", "<object><name>a</name></object>", f"<object><name>a</name>{box}</object>", "x<a/>",
        "<a>" * 40 + "</a>" * 40, "&lt;", "<!-- -->", "<![CDATA[x]]>", f"<x>{box}</x>", "\n", "<?a b?>",
    ))  # fmt: skip
    body = element * (count // len(element))
    if draw.random() < 0.3:
        body = "".join(f"<object><name>c{k}</name>{box}</object>" for k in range(count // 110))
    inside = draw.random() < 0.2
    body = f"<object><name>{body}</name>{box}</object>" if inside else body
    return [("0.xml", f"<annotation>{body}</annotation>".encode())]


_BODIES: dict[str, Callable[[random.Random, int, int], list[Member]]] = {
    "masks": _masks, "polygons": _polygons, "dicts": _dicts, "shapes": _shapes, "lines": _lines, "yaml": _yaml,
    "xml": _xml,
}  # fmt: skip
_PLACES = {
    "masks": "train/#.png", "polygons": "train/#.png", "dicts": "train/#.png", "shapes": "#.png",
    "lines": "images/#.png", "yaml": "images/#.png", "xml": "#.png",
}  # fmt: skip
