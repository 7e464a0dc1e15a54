"""From each form of boxes, as labelling tools export it, to an evaluated model, by the commands of users."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from pellucid.base.text import note_first_time
from pellucid.data import load
from tests.cli.conftest import Cli, cli
from tests.cli.test_train_own import draw_objects

__all__ = ["cli"]  # the fixture
COUNT = 10  # pictures with two objects each
NAMES = ("ball", "box")
Objects = list[tuple[str, tuple[int, int, int, int]]]
Drawn = dict[str, tuple[Image.Image, Objects]]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def drawn() -> Drawn:
    note_first_time.cache_clear()
    return {f"photo {k:02d}": draw_objects(k) for k in range(COUNT)}


def save(folder: Path, drawn: Drawn, prefix: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, (image, _) in drawn.items():
        image.save(folder / f"{prefix}{stem}.png")


def yolo_lines(image: Image.Image, objects: Objects) -> str:
    rows = []
    for name, (x0, y0, x1, y1) in objects:
        centre = ((x0 + x1) / 2 / image.width, (y0 + y1) / 2 / image.height)
        size = ((x1 - x0) / image.width, (y1 - y0) / image.height)
        rows.append(" ".join(map(str, (NAMES.index(name), *centre, *size))))
    return "\n".join(rows)


def write_labels(folder: Path, drawn: Drawn, prefix: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, (image, objects) in drawn.items():
        (folder / f"{prefix}{stem}.txt").write_text(yolo_lines(image, objects))


def write_coco(file: Path, drawn: Drawn, image_folder: str, first_id: int = 1) -> None:
    images, annotations = [], []
    for number, (stem, (image, objects)) in enumerate(drawn.items(), first_id):
        images.append({
            "id": number, "file_name": f"{image_folder}{stem}.png", "width": image.width, "height": image.height,
        })  # fmt: skip
        for name, (x0, y0, x1, y1) in objects:
            annotations.append({
                "id": len(annotations) + first_id, "image_id": number, "category_id": NAMES.index(name) + first_id,
                "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0, "ignore": 0,
                "segmentation": [],
            })  # fmt: skip
    categories = [{"id": k, "name": name} for k, name in enumerate(NAMES, first_id)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories, "info": {}}))


def write_voc(folder: Path, drawn: Drawn, image_folder: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, (image, objects) in drawn.items():
        boxes = "".join(
            f"<object><name>{name}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"
            f"<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for name, (x0, y0, x1, y1) in objects
        )
        (folder / f"{stem}.xml").write_text(
            f"<annotation><folder>{image_folder}</folder><filename>{stem}.png</filename><source/>"
            f"<size><width>{image.width}</width><height>{image.height}</height><depth>3</depth></size>"
            f"<segmented>0</segmented>{boxes}</annotation>"
        )


def parts(drawn: Drawn) -> dict[str, Drawn]:
    stems = [*drawn]
    return {"train": {stem: drawn[stem] for stem in stems[:8]}, "val": {stem: drawn[stem] for stem in stems[8:]}}


def ultralytics(root: Path, drawn: Drawn) -> str:
    for part, of_part in parts(drawn).items():
        save(root / f"images/{part}", of_part)
        write_labels(root / f"labels/{part}", of_part)
    settings = {
        "path": "../datasets/things",
        "train": "images/train",
        "val": "images/val",
        "test": None,
        "names": dict(enumerate(NAMES)),
    }
    (root / "my things.yaml").write_text(yaml.safe_dump(settings))
    return "my things.yaml"


def ultralytics_elsewhere(root: Path, drawn: Drawn) -> str:
    """Write a second settings file, in which the classes have other names, beside the folder of the data."""
    ultralytics(root / "data", drawn)
    settings = yaml.safe_load((root / "data/my things.yaml").read_text())
    (root / "data/my things.yaml").write_text(yaml.safe_dump({**settings, "names": ["x", "y"]}))
    (root / "settings").mkdir()
    (root / "settings/a.yml").write_text(yaml.safe_dump(settings).replace("../datasets/things", "../data  # here"))
    return "settings/a.yml"


def roboflow_yolo(root: Path, drawn: Drawn) -> str:
    for part, of_part in parts(drawn).items():
        folder = "valid" if part == "val" else part
        save(root / folder / "images", of_part)
        write_labels(root / folder / "labels", of_part)
    settings = {
        "train": "../train/images",
        "val": "../valid/images",
        "test": "../test/images",
        "nc": 2,
        "names": [*NAMES],
        "roboflow": {"workspace": "me", "version": 1},
    }
    (root / "data.yaml").write_text(yaml.safe_dump(settings))
    return ""


def roboflow_coco(root: Path, drawn: Drawn) -> str:
    for part, of_part in parts(drawn).items():
        folder = "valid" if part == "val" else part
        save(root / folder, of_part)
        write_coco(root / folder / "_annotations.coco.json", of_part, "", first_id=0)
    return ""


def roboflow_voc(root: Path, drawn: Drawn) -> str:
    for part, of_part in parts(drawn).items():
        folder = "valid" if part == "val" else part
        save(root / folder, of_part)
        write_voc(root / folder, of_part, "")
    return ""


def label_studio_yolo(root: Path, drawn: Drawn) -> str:
    save(root / "images", drawn, "3f2a91bc-")
    write_labels(root / "labels", drawn, "3f2a91bc-")
    (root / "classes.txt").write_text("\n".join(NAMES))
    notes = {"categories": [{"id": k, "name": name} for k, name in enumerate(NAMES)], "info": {"version": "1.0"}}
    (root / "notes.json").write_text(json.dumps(notes))
    return ""


def label_studio_coco(root: Path, drawn: Drawn) -> str:
    save(root / "images", drawn)
    write_coco(root / "result.json", drawn, "images/", first_id=0)
    return ""


def label_studio_voc(root: Path, drawn: Drawn) -> str:
    save(root / "images", drawn)
    write_voc(root / "Annotations", drawn, "images")
    return ""


def cvat_images(root: Path, drawn: Drawn) -> str:
    save(root / "images", drawn)
    entries = []
    for number, (stem, (image, objects)) in enumerate(drawn.items()):
        boxes = "".join(
            f'<box label="{name}" source="manual" occluded="0" xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}" z_order="0">'
            "</box>"
            for name, (x0, y0, x1, y1) in objects
        )
        size = f'width="{image.width}" height="{image.height}"'
        entries.append(f'<image id="{number}" name="{stem}.png" {size}>{boxes}</image>')
    (root / "annotations.xml").write_text(f"<annotations><version>1.1</version>{''.join(entries)}</annotations>")
    return ""


def cvat_coco(root: Path, drawn: Drawn) -> str:
    save(root / "images/default", drawn)
    write_coco(root / "annotations/instances_default.json", drawn, "")
    return ""


def cvat_voc(root: Path, drawn: Drawn) -> str:
    save(root / "JPEGImages", drawn)
    write_voc(root / "Annotations", drawn, "")
    (root / "ImageSets/Main").mkdir(parents=True)
    (root / "ImageSets/Main/default.txt").write_text("\n".join(drawn))
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\nball:9,9,9::\nbox:3,3,3::")
    return ""


def cvat_yolo(root: Path, drawn: Drawn) -> str:
    """Write CVAT's "YOLO 1.1", the layout of Darknet."""
    save(root / "obj_train_data", drawn)
    write_labels(root / "obj_train_data", drawn)
    (root / "obj.names").write_text("\n".join(NAMES) + "\n")
    (root / "obj.data").write_text("classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    (root / "train.txt").write_text("".join(f"data/obj_train_data/{stem}.png\n" for stem in drawn))
    return ""


def cvat_ultralytics(root: Path, drawn: Drawn) -> str:
    save(root / "images/train", drawn)
    write_labels(root / "labels/train", drawn)
    (root / "train.txt").write_text("".join(f"data/images/train/{stem}.png\n" for stem in drawn))
    settings = {"names": dict(enumerate(NAMES)), "path": ".", "train": "train.txt"}
    (root / "data.yaml").write_text(yaml.safe_dump(settings))
    return ""


def labelme(root: Path, drawn: Drawn) -> str:
    save(root, drawn)
    for stem, (image, objects) in drawn.items():
        shapes = [
            {"label": name, "points": [box[:2], box[2:]], "group_id": None, "shape_type": "rectangle", "flags": {}}
            for name, box in objects
        ]
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"{stem}.png",
            "imageData": None,
            "imageHeight": image.height,
            "imageWidth": image.width,
        }
        (root / f"{stem}.json").write_text(json.dumps(content))
    return ""


# Each writes a data set, and returns the path of the data in it that is given to the commands.
FORMS: dict[str, Callable[[Path, Drawn], str]] = {
    "Ultralytics": ultralytics,
    "Ultralytics, settings elsewhere": ultralytics_elsewhere,
    "Ultralytics, folder": lambda root, drawn: ultralytics(root, drawn) and "",
    "Roboflow YOLO": roboflow_yolo,
    "Roboflow COCO": roboflow_coco,
    "Roboflow VOC": roboflow_voc,
    "Label Studio YOLO": label_studio_yolo,
    "Label Studio COCO": label_studio_coco,
    "Label Studio VOC": label_studio_voc,
    "CVAT for images": cvat_images,
    "CVAT COCO": cvat_coco,
    "CVAT VOC": cvat_voc,
    "CVAT YOLO 1.1": cvat_yolo,
    "CVAT Ultralytics YOLO": cvat_ultralytics,
    "labelme": labelme,
}


@pytest.mark.parametrize("form", FORMS)
def test_boxes_are_those_drawn(form: str, drawn: Drawn, tmp_path: Path) -> None:
    splits = load(str(tmp_path / FORMS[form](tmp_path, drawn)))
    found = {}
    for part in (splits.train, splits.test):
        for record in part.records:
            name = Path(record.image).stem.removeprefix("3f2a91bc-")
            found[name] = [(part.classes[one.label], tuple(map(round, one.box))) for one in record.instances]
    assert found == {stem: objects for stem, (_, objects) in drawn.items()}
    assert len(splits.test) == 2


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("form", FORMS)
def test_a_model_is_trained_and_evaluated(form: str, drawn: Drawn, tmp_path: Path, cli: Cli) -> None:
    root = tmp_path / "set"
    root.mkdir()
    data = str(root / FORMS[form](root, drawn))
    trained = cli("train", "detect", data, "train.epochs=1", "data.size=64", "recipe.threads=1", "--json").json
    evaluated = cli("evaluate", trained["run"], "--data", data, "--json").json
    assert (evaluated["n"], evaluated["objects"]) == (2, 4)
    assert {row["class"] for row in evaluated["classes"]} == {*NAMES}
