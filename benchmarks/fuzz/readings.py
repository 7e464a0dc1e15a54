"""Data sets in unusual forms, whose meaning is known: each is read as meant, or refused, or a note says what differs.

Each file is a seed, from which a small data set is written: names in some encoding, masks with some values, parts with
some names, pixels of some depth, lines of YOLO text in some shape, or groups of shapes and categories. It is read as
for a training. Another reading without a word is a fault.
"""

import codecs
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.fuzz.shapes import SIZE, Check, random_image, save_file, write_file, write_groups, write_lines
from pellucid.base.errors import PellucidError
from pellucid.base.text import collected_notes
from pellucid.data import DetectionFolder, MaskFolder, load_objects, load_splits
from pellucid.data.picture_list import picture_list
from pellucid.tasks.segment.own import recipe_for

_ENCODINGS = (
    ("utf-8", b""), ("utf-8", codecs.BOM_UTF8), ("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE),
    ("utf-32-le", codecs.BOM_UTF32_LE), ("utf-16-le", b""), ("utf-16-be", b""), ("latin-1", b""), ("cp1252", b""),
    ("cp1251", b""), ("shift-jis", b""), ("gb18030", b""), ("cp437", b""), ("mac-roman", b""),
)  # fmt: skip
_ALPHABETS = ("abcxyz", "äöüßéñ", "жизнь", "日本語", "€œž", "a b-c.d", "😀é")


def write_readings(kind: str, path: Path) -> None:
    """Write an original file, of which every case is another seed."""
    path.write_text(json.dumps({"kind": kind, "seed": "original"}))


def write_readings_case(kind: str, path: Path, rng: random.Random) -> None:
    """Write the seed of a case."""
    path.write_text(json.dumps({"kind": kind, "seed": rng.getrandbits(64)}))


def outcome_of_reading(path: Path) -> str:
    """Return "same", "listed" for a difference that a note states, "refused", or a description of the fault."""
    case = json.loads(path.read_text())
    folder = path.with_suffix(".set")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        check = _WRITERS[case["kind"]](folder, random.Random(f"{case['kind']} {case['seed']}"))
        with collected_notes() as notes:
            result = check()
    except PellucidError as error:
        message = str(error)
        is_named = folder.name in message or any(file.name in message for file in folder.rglob("*"))
        return "refused" if is_named and "\n" not in message and message.isprintable() else f"message: {message!r}"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {' '.join(str(error).split()):.300}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if result == "same" or result.startswith("misread"):
        return result
    return "listed" if any(result in text for text in notes) else f"misread: no note contains {result!r}"


def _texts(folder: Path, rng: random.Random) -> Check:
    """Names of classes, or of images in a list, in some encoding and with some ends of lines."""
    encoding, mark = rng.choice(_ENCODINGS)
    alphabet = rng.choice(_ALPHABETS)
    names = sorted({"".join(rng.choices(alphabet, k=rng.randrange(1, 8))).strip(" .-") or "x" for _ in range(4)})
    newline = rng.choice(["\n", "\r\n", "\n\n", "\r"])

    def encoded(text: str) -> bytes:
        return mark + text.replace("\n", newline).encode(encoding, "replace")

    written = [name.encode(encoding, "replace").decode(encoding) for name in names]
    if len({*written}) < len(names):  # characters that the encoding lacks are equal
        names = written = ["x", "y"]
    kind = rng.choice(["voc", "coco", "labelme", "yolo", "yaml", "masks", "list"])
    save_file(random_image(rng), folder / "a.png")
    if kind == "list":
        write_file(folder / "list.txt", encoded("".join(f"{name}.png\n" for name in names)))
        source = str(folder / "list.txt")
        return lambda: _compare(lambda: [picture_list(source).name(k)[:-4] for k in range(len(names))], written)
    if kind == "masks":
        mask = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % max(len(names), 2)
        save_file(random_image(rng), folder / "train/a.png")
        save_file(Image.fromarray(mask.astype(np.uint8)), folder / "trainannot/a.png")
        write_file(folder / "classes.txt", encoded("".join(f"{name}\n" for name in names)))
        return lambda: _compare(lambda: list(MaskFolder(folder).classes or ()), written)
    if kind in ("yolo", "yaml"):
        text = json.dumps(names, ensure_ascii=False)
        if kind == "yaml":
            write_file(folder / "data.yaml", encoded(f"names: {text}\n"))
        else:
            write_file(folder / "classes.txt", encoded("\n".join(names) + "\n"))
        write_file(folder / "a.txt", encoded("".join(f"{k} 0.5 0.5 0.2 0.2\n" for k in range(len(names)))))
    elif kind == "voc":
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
        declared = f'<?xml version="1.0" encoding="{encoding}"?>\n' if rng.random() < 0.5 and not mark else ""
        objects = "".join(f"<object><name>{name}</name>{box}</object>\n" for name in names)
        write_file(folder / "a.xml", encoded(f"{declared}<annotation>\n{objects}</annotation>"))
    elif kind == "coco":
        items = [{"id": k, "image_id": 1, "category_id": k, "bbox": [1, 1, 9, 9]} for k in range(len(names))]
        content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": items,
                   "categories": [{"id": k, "name": name} for k, name in enumerate(names)]}  # fmt: skip
        write_file(folder / "a.json", encoded(json.dumps(content, ensure_ascii=False, indent=1)))
    else:
        shapes = [{"label": name, "shape_type": "rectangle", "points": [[1, 1], [9, 9]]} for name in names]
        write_file(folder / "a.json", encoded(json.dumps({"imagePath": "a.png", "shapes": shapes}, ensure_ascii=False)))
    return lambda: _compare(lambda: sorted(DetectionFolder(folder).classes or ()), sorted(written))


def _compare(read: Callable[[], Any], expected: Any) -> str:
    """Return "same", or the text of the note that must state the difference."""
    return "same" if read() == expected else "is read as Windows-1252"


def _mask_values(folder: Path, rng: random.Random) -> Check:
    """Masks of some classes with some values, with or without names, with and without pixels of no class."""
    count, n_images = rng.randrange(1, 6), rng.randrange(2, 7)
    numbers = np.random.default_rng(rng.getrandbits(32))
    has_void = rng.random() < 0.4
    classes = numbers.integers(-1 if has_void else 0, count, (n_images, *SIZE))
    if rng.random() < 0.1:
        classes[:] = -1  # nothing but pixels of no class
    if rng.random() < 0.2:
        classes[classes == count - 1] = 0  # one class does not occur
    form = rng.choice(["plain", "plain", "binary", "stated", "gaps", "from 1", "JPEG"])
    values = {"binary": [0, 255], "from 1": [*range(1, count + 1)]}.get(form, [*range(count)])
    if form in ("stated", "gaps"):
        values = sorted(rng.sample(range(255), count))
    void = rng.choice([value for value in (255, 254, count) if value not in values and value >= len(values)])
    has_names = form == "stated" or rng.random() < 0.6
    classes = np.where(classes >= len(values), 0, classes)
    if not has_names and void != 255:  # without names, another value cannot mean no class
        classes = np.where(classes < 0, 0, classes)
    masks = np.where(classes < 0, void, np.array(values)[classes.clip(0)]).astype(np.uint8)
    names = [f"name {k}" for k in range(len(values))]
    if has_names:
        lines = [f"{value}: {name}" if form == "stated" else name for value, name in zip(values, names, strict=True)]
        write_file(folder / "classes.txt", "\n".join(lines).encode())
    for k, mask in enumerate(masks):
        save_file(random_image(rng), folder / f"train/{k}.png")
        options = {"quality": rng.choice([60, 95])} if form == "JPEG" else {}
        save_file(Image.fromarray(mask), folder / f"trainannot/{k}.{'jpg' if form == 'JPEG' else 'png'}", **options)

    def check() -> str:
        settings = recipe_for(str(folder)).settings
        ignored = settings["loss.ignore"]
        source = MaskFolder(folder, ignored=ignored)
        read = torch.stack([source.example(k)[1] for k in range(len(source))]).numpy()
        meant = np.where(classes < 0, ignored, classes)
        if not has_names and form in ("plain", "from 1"):  # the values are the classes
            meant = np.where((masks == void) & (void == 255), ignored, masks)
        present = sorted(set(masks.ravel().tolist()))
        if present == [0, 255] and form not in ("binary", "stated"):  # one class and pixels of none, or two classes
            return "255 is read as the class"
        if form == "from 1" and has_names and not (classes == len(values) - 1).any():  # nothing shows the shift
            return f"no pixel has {names[0]!r}"
        if (read != meant).any() or len(set(meant[meant != ignored].ravel().tolist())) < 2:
            return f"misread masks: {form}, values {present}, names {has_names}"
        absent = [k for k in range(len(values)) if not (meant == k).any()] if has_names else []
        return f"no pixel has {names[absent[0]]!r}" if absent else "same"

    return check


def _parts(folder: Path, rng: random.Random) -> Check:
    """Images in parts with some names, of which one is trained on and one is held out."""
    spellings = {
        "train": ["train", "Train", "TRAIN", "training", "Training", "train2", "trainset", "train_images", "TrainData"],
        "test": ["test", "Test", "testing", "test1", "TEST", "testset", "Test Images"],
        "val": ["val", "VAL", "valid", "Validation", "val2017", "valset"],
        "other": ["dev", "extra", "holdout", "unused", "fold3"],
    }
    names = {part: rng.choice(words) for part, words in spellings.items() if part == "train" or rng.random() < 0.5}
    form = rng.choice(["classes", "masks", "yolo", "labelme", "voc", "voc lists", "coco"])
    if form == "yolo":
        write_file(folder / "data.yaml", b"names: [a]")
    for k, name in enumerate(names.values()):
        _write_part(folder, form, name, k, rng)
    held_out = next((names[part] for part in ("test", "val") if part in names), None)
    unused = [name for part, name in names.items() if name not in (names["train"], held_out)]

    def check() -> str:
        if form == "classes":
            splits: Any = load_splits(folder, size=4)
            colours = [int(part.x[0, 0, 0, 0]) // 50 for part in (splits.train, splits.test)]
        elif form == "masks":
            from pellucid.recipe.material import load_splits as load_arrays
            from pellucid.recipe.tables import Data

            splits = load_arrays(Data(str(folder)))
            colours = [int(part.x[0, 0, 0, 0]) // 50 for part in (splits.train, splits.test)]
        else:
            splits = load_objects(folder)
            colours = [int(part.image(0)[0, 0, 0]) // 50 for part in (splits.train, splits.test)]
        order = [*names.values()]
        expected = [0, order.index(held_out) if held_out else 0]
        if colours != expected:
            return f"misread parts: {form} {names} read as {colours}"
        return "not used" if unused else "same"

    return check


def _write_part(folder: Path, form: str, name: str, k: int, rng: random.Random) -> None:
    """Write the images of one part, whose first channel has the value 50 k."""
    image = Image.new("RGB", (SIZE[1], SIZE[0]), (50 * k, rng.randrange(256), 9))
    shape = {"label": "a", "shape_type": "rectangle", "points": [[1, 1], [9, 9]]}
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    xml = f"<annotation><object><name>a</name>{box}</object></annotation>".encode()
    for i in range(5):
        file = f"{k}{i}"
        if form == "classes":
            save_file(image, folder / name / "xy"[i % 2] / f"{file}.png")
        elif form == "masks":
            save_file(image, folder / name / f"{file}.png")
            mask = np.indices(SIZE).sum(0) % 2
            save_file(Image.fromarray(mask.astype(np.uint8)), folder / f"{name}annot" / f"{file}.png")
        elif form == "yolo":
            save_file(image, folder / "images" / name / f"{file}.png")
            write_file(folder / "labels" / name / f"{file}.txt", b"0 0.5 0.5 0.2 0.2\n")
        elif form == "labelme":
            save_file(image, folder / name / f"{file}.png")
            write_file(
                folder / name / f"{file}.json", json.dumps({"imagePath": f"{file}.png", "shapes": [shape]}).encode()
            )
        elif form == "voc":
            save_file(image, folder / name / f"{file}.png")
            write_file(folder / name / f"{file}.xml", xml)
        else:
            save_file(image, folder / "JPEGImages" / f"{file}.png")
    files = [f"{k}{i}" for i in range(5)]
    if form == "voc lists":
        write_file(folder / "ImageSets/Main" / f"{name}.txt", "".join(f"{file}\n" for file in files).encode())
        for file in files:
            write_file(folder / "Annotations" / f"{file}.xml", xml)
    if form == "coco":
        images = [{"id": i, "file_name": f"{file}.png"} for i, file in enumerate(files)]
        items = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 8, 8]} for i in range(5)]
        content = {"images": images, "annotations": items, "categories": [{"id": 1, "name": "a"}]}
        write_file(folder / f"{name}.json", json.dumps(content).encode())


def _pixels(folder: Path, rng: random.Random) -> Check:
    """Images of some depth: 8 to 16 bits or floats, in some format, some of them dark."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    form = rng.choice(["8", "16", "low", "low", "float", "float in other units"])
    bits = {"8": 8, "16": 16}.get(form, rng.choice([9, 10, 11, 12]))
    suffix = rng.choice(["png", "tif"]) if not form.startswith("float") else "tif"
    compression = rng.choice(["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
    options: dict[str, Any] = {"compression": compression} if suffix == "tif" else {}
    is_stated = form == "low" and suffix == "tif" and rng.random() < 0.5
    if is_stated:
        options["tiffinfo"] = {281: (1 << bits) - 1}
    meant: list[np.ndarray] = []
    for k in range(6):
        level = rng.choice([1.0, 1.0, 0.2]) if k else 1.0
        fractions = numbers.uniform(0, level, SIZE)
        fractions[0, 0] = level
        if form.startswith("float"):
            scale = rng.choice([255, 65535, 3.5]) if form.endswith("units") else 1
            array = (fractions * scale).astype(np.float32)
            meant.append(fractions)
        else:
            array = np.floor(fractions * ((1 << bits) - 1)).astype(np.uint8 if bits == 8 else np.uint16)
            meant.append(array / ((1 << bits) - 1))
        save_file(Image.fromarray(array), folder / "ab"[k % 2] / f"{k}.{suffix}", **options)

    def check() -> str:
        splits = load_splits(folder)
        read = {round(float(x.float().mean()), 3) for x in (*splits.train.x[:, 0], *splits.test.x[:, 0])}
        expected = [255 * float(values.mean()) for values in meant]
        is_close = all(any(abs(mean - other) < 1.5 for other in read) for mean in expected)
        is_complete = len(splits.train) + len(splits.test) == 6
        return "same" if is_close and is_complete else f"misread pixels: {form} {bits} {suffix}"

    return check


_WRITERS: dict[str, Callable[[Path, random.Random], Check]] = {
    "texts": _texts, "mask-values": _mask_values, "parts": _parts, "pixels": _pixels, "line-shapes": write_lines,
    "groups": write_groups,
}  # fmt: skip
READINGS = tuple(_WRITERS)
