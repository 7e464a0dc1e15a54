"""Key-points of several objects in an image: DeepLabCut's tables, YOLO pose, labelme's points and COCO's persons."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder
from pellucid.data.annotations import Annotations, read_annotations
from pellucid.data.annotations.base import check_faults
from pellucid.data.annotations.convert import convert
from pellucid.data.detection import load_objects
from pellucid.data.tree import open_tree
from tests.data.pictures import picture_bytes

SIZE = (40, 60)  # (height, width) of the images
IMAGE = picture_bytes((9, 99, 9), SIZE[::-1])
WILD = Path(__file__).parents[3].parent / "shared/data/wild/deeplabcut"


def read(path: Path, part: str = "") -> Annotations:
    with open_tree(path) as tree:
        annotations = read_annotations(tree, part)
    check_faults(annotations.faults)
    return annotations


def table(rows: list[list[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def deeplabcut_rows(individuals: list[str], parts: list[str], images: list[str], index_columns: int = 1, seed: int = 0):
    """Return the rows of a table as DeepLabCut writes it, with random points of which a third are not labelled."""
    rng = np.random.default_rng(seed)
    pad = [""] * (index_columns - 1)
    pairs = [(who, part) for who in individuals or [""] for part in parts]
    rows = [["scorer", *pad, *["me"] * (2 * len(pairs))]]
    if individuals:
        rows.append(["individuals", *pad, *[who for who, _ in pairs for _ in "xy"]])
    rows.append(["bodyparts", *pad, *[part for _, part in pairs for _ in "xy"]])
    rows.append(["coords", *pad, *["x", "y"] * len(pairs)])
    for image in images:
        cells: list[str] = []
        for _ in pairs:
            x, y = rng.uniform((0, 0), SIZE[::-1])
            cells += ["", ""] if rng.random() < 1 / 3 else [repr(float(x)), repr(float(y))]
        rows.append([*(image.split("/") if index_columns == 3 else [image]), *cells])
    return rows


@pytest.mark.parametrize("index_columns", [1, 3])
@pytest.mark.parametrize("individuals", [[], ["mouse1", "mouse2", "mouse3"]])
def test_tables_of_deeplabcut_are_read(write_tree, individuals: list[str], index_columns: int) -> None:
    names = [f"labeled-data/video/img{k:03d}.png" for k in range(9)]
    rows = deeplabcut_rows(individuals, ["nose", "ear", "tail"], names, index_columns)
    files = {"labeled-data/video/CollectedData_me.csv": table(rows), **dict.fromkeys(names, IMAGE)}
    copy = {"training-datasets/iteration-0/Unaugmented/CollectedData_me.csv": table(rows)}
    annotations = read(write_tree("set", files | copy))
    assert (annotations.classes, annotations.keypoints) == (("object",), ("nose", "ear", "tail"))
    assert [record.image for record in annotations.records] == names
    n_head = 3 + bool(individuals)
    for record, row in zip(annotations.records, rows[n_head:], strict=True):
        values = [float(cell) if cell else None for cell in row[index_columns:]]
        animals = [values[k : k + 6] for k in range(0, len(values), 6)]
        animals = [animal for animal in animals if animal != [None] * 6]
        assert len(record.instances) == len(animals)
        for instance, animal in zip(record.instances, animals, strict=True):
            expected = [(0, 0, 0) if x is None else (x, y, 2) for x, y in zip(animal[::2], animal[1::2], strict=True)]
            assert np.array(instance.points).reshape(3, 3).tolist() == [[*point] for point in expected]
            inside = np.array([point[:2] for point in expected if point[2]])
            x0, y0, x1, y1 = instance.box
            margin = max(0.1 * float(np.ptp(inside, 0).max()), 0.02 * 60)
            low = np.maximum(inside.min(0) - margin, 0)
            high = np.minimum(inside.max(0) + margin, SIZE[::-1])
            np.testing.assert_allclose([x0, y0, x1, y1], [*low, *high])


def test_images_of_deeplabcut_are_found_beside_their_table_and_videos_name_no_parts(write_tree) -> None:
    rows = {
        video: deeplabcut_rows([], ["nose"], [f"labeled-data/{video}/img.png"], seed=k)
        for k, video in enumerate(("test-1", "train-2"))
    }
    files = {f"labeled-data/{video}/CollectedData_me.csv": table(rows[video]) for video in rows}
    images = {f"labeled-data/{video}/img.png": IMAGE for video in rows}
    annotations = read(write_tree("set", files | images))
    assert [record.image for record in annotations.records] == [*images]
    alone = read(write_tree("alone", {"CollectedData_me.csv": table(rows["test-1"]), "img.png": IMAGE}))
    assert alone.records[0].image == "img.png"
    assert alone.records[0].instances == annotations.records[0].instances
    windows = [[cell.replace("/", "\\") for cell in row] for row in rows["test-1"]]
    assert read(write_tree("windows", {"CollectedData_me.csv": table(windows), "img.png": IMAGE})).records


def test_tables_of_two_projects_are_refused_and_not_joined(write_tree) -> None:
    def files(parts: list[str]) -> dict[str, bytes]:
        tables = {"mice": ["nose", "ear"], "others": parts}
        return {
            f"{project}/{name}": content
            for project, names in tables.items()
            for name, content in {
                "CollectedData_me.csv": table(deeplabcut_rows([], names, ["img.png"])),
                "img.png": IMAGE,
            }.items()
        }

    with pytest.raises(PellucidError, match=r"mice/Coll.*csv and .*others/Coll.*csv have no body part in common; give"):
        read(write_tree("set", files(["hand", "joystick"])))
    assert read(write_tree("one", files(["ear", "tail"]))).keypoints == ("nose", "ear", "tail")


def changed(row: int, column: int, text: str) -> bytes:
    rows = deeplabcut_rows([], ["nose", "tail"], ["a.png"])
    rows[3][1:] = ["1", "2", "3", "4"]
    rows[row][column] = text
    return table(rows)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed(0, 0, "me"), r"header has the rows 'me', 'bodyparts', 'coords'; give scorer, bodyparts, coords, or"),
        (changed(2, 2, "x"), r"row coords is not x, y, x, y, \.\.\. after one or three columns"),
        (changed(2, 1, ""), r"row coords is not x, y"),
        (changed(1, 2, "tail"), r"header needs each body part once, for x and y, unlike 'nose'"),
        (changed(3, 1, ""), r"csv:4: 'nose' is at '', '2'; give two numbers, or leave both cells empty"),
        (changed(3, 4, "left"), r"csv:4: 'tail' is at '3', 'left'; give two numbers"),
        (changed(3, 3, "300"), r"csv:4: 'tail' is at 300, 4, outside the image of 60x40; annotate this image"),
        (changed(3, 0, "b.png"), r"csv:4: image 'b.png' is not below"),
        (changed(3, 0, "a.png") + b"a.png,1,2,3,4\n", r"csv:5: 'a.png' is annotated twice; keep one of its rows"),
        (changed(3, 0, "a.png") + b"a.png,1,2,3\n", r"csv:5: row has 4 cells, the first row 5"),
        (b"", r"header has the rows ; give scorer"),
        (b"scorer,me,me\nbodyparts,nose,nose\ncoords,x,y\n", r"table has no row of an image; add some"),
    ],
)
def test_other_tables_are_refused(write_tree, data: bytes, message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        read(write_tree("set", {"CollectedData_me.csv": data, "a.png": IMAGE}))


def test_points_of_no_animal_are_left_out_and_listed(write_tree) -> None:
    rows = deeplabcut_rows(["mouse"], ["nose", "tail"], ["a.png"])
    rows[4][1:] = ["1", "2", "3", "4"]
    for row, cells in zip(rows, [["me"] * 2, ["single"] * 2, ["corner"] * 2, ["x", "y"], ["5", "6"]], strict=True):
        row.extend(cells)
    annotations = read(write_tree("set", {"CollectedData_me.csv": table(rows), "a.png": IMAGE}))
    assert annotations.keypoints == ("nose", "tail")
    assert [fault.reason for fault in annotations.faults] == [
        "'single' is no animal, so its points are left out: corner"
    ]
    (instance,) = annotations.records[0].instances
    assert instance.points == (1, 2, 2, 3, 4, 2)


@pytest.mark.skipif(not WILD.is_dir(), reason="needs the public data")
def test_a_public_table_is_read_as_csv_reads_it() -> None:
    with (WILD / "CollectedData_Pranav.csv").open(newline="") as file:
        rows = [*csv.reader(file)][3:]
    with open_tree(WILD) as tree:
        annotations = read_annotations(tree)
    assert annotations.keypoints == ("snout", "leftear", "rightear", "tailbase")
    for record, row in zip(annotations.records, rows[:15], strict=True):
        assert record.image == Path(row[0]).name
        points = np.array(record.instances[0].points).reshape(4, 3)
        assert points[:, :2].flatten().tolist() == [float(cell) for cell in row[1:]]
    missing = [fault for fault in annotations.faults if fault.is_image]  # the table has 116 rows for 15 images
    assert len(missing) == len(rows) - 15
    assert DetectionFolder(WILD, on_error="skip").swaps == ((1, 2),)


def yolo_files(lines: list[str], **settings: object) -> dict[str, bytes]:
    content = {"names": ["dog", "cat"], "kpt_shape": [3, 3]} | settings
    return {
        "data.yaml": yaml.safe_dump(content).encode(),
        "images/train/a.png": IMAGE,
        "labels/train/a.txt": "\n".join(lines).encode(),
    }


def test_objects_of_yolo_pose_have_names_and_pairs(write_tree) -> None:
    lines = ["0 0.5 0.5 0.25 0.5 0.5 0.25 2 0 0 0 0.6 0.5 1", "1 0.25 0.5 0.25 0.5 0.2 0.25 2 0.1 0.3 2 0.15 0.5 2"]
    names = ["nose", "ear1", "ear2"]
    settings = {"flip_idx": [0, 2, 1], "kpt_names": {0: names, 1: names}}
    path = write_tree("set", yolo_files(lines, **settings))
    annotations = read(path)
    assert (annotations.keypoints, annotations.swaps) == (("nose", "ear1", "ear2"), ((1, 2),))
    for instance, line in zip(annotations.records[0].instances, lines, strict=True):
        expected = np.array([float(word) for word in line.split()[5:]]).reshape(3, 3) * (60, 40, 1)
        np.testing.assert_allclose(np.reshape(instance.points, (3, 3)), expected)
    folder = DetectionFolder(path)
    assert (folder.swaps, folder.has_several) == (((1, 2),), True)
    symmetric = DetectionFolder(write_tree("symmetric", yolo_files(lines[:1], flip_idx=[0, 1, 2])))
    assert (symmetric.swaps, symmetric.has_several, symmetric.keypoints) == ((), False, ("p0", "p1", "p2"))
    convert(path, path.parent / "yolo", "yolo")
    written = yaml.safe_load((path.parent / "yolo/data.yaml").read_text())
    assert (written["flip_idx"], written["kpt_names"]) == ([0, 2, 1], {0: names, 1: names})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flip_idx": [0, 1]}, r"flip_idx is \['0', '1'\]; give the index of each of the 3 key-points after mirroring"),
        ({"flip_idx": [1, 2, 0]}, r"flip_idx is .*; give the index"),
        ({"flip_idx": [0, 1, 3]}, r"flip_idx is .*; give the index"),
        ({"flip_idx": "mirror"}, r"flip_idx is 'mirror'; give the index"),
        ({"kpt_names": ["nose", "ear"]}, r"kpt_names is \['nose', 'ear'\]; give a list of 3 different names"),
        ({"kpt_names": ["a", "b", "a"]}, r"give a list of 3 different names"),
        ({"kpt_names": {0: ["a", "b", "c"], 1: ["a", "c", "b"]}}, r"kpt_names differs between the classes; split"),
    ],
)
def test_other_settings_of_yolo_pose_are_refused(write_tree, settings: dict[str, object], message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        read(write_tree("set", yolo_files([], **settings)))


def labelme_file(*points: tuple[str, float, float, int | None], **shape: object) -> bytes:
    shapes = [
        {"label": label, "points": [[x, y]], "group_id": group, "shape_type": "point", "flags": {}}
        for label, x, y, group in points
    ]
    shapes += [{"label": "dog", "points": [[1, 1], [50, 30]], "shape_type": "rectangle"}] if shape else []
    content = {"shapes": shapes, "imagePath": "a.png", "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    return json.dumps(content).encode()


def test_points_of_labelme_are_objects_by_their_groups(write_tree) -> None:
    first = labelme_file(("tail", 10, 20, None), ("nose", 30, 10, None))
    several = labelme_file(("nose", 5, 6, 1), ("nose", 40, 30, 2), ("tail", 9, 8, 1)).replace(b"a.png", b"b.png")
    path = write_tree("set", {"a.json": first, "a.png": IMAGE, "b.json": several, "b.png": IMAGE})
    annotations = read(path)
    assert (annotations.classes, annotations.keypoints) == (("object",), ("nose", "tail"))
    points = [[instance.points for instance in record.instances] for record in annotations.records]
    assert points == [[(30, 10, 2, 10, 20, 2)], [(5, 6, 2, 9, 8, 2), (40, 30, 2, 0, 0, 0)]]
    assert annotations.records[0].instances[0].box == pytest.approx((8, 8, 32, 22))
    assert DetectionFolder(path).has_several


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            labelme_file(("nose", 1, 2, None), ("nose", 9, 9, None)),
            r"two points are named 'nose'; give each object its",
        ),
        (labelme_file(("nose", 1, 2, 3), region=True), r"shape 0: point belongs to no rectangle or polygon; give both"),
    ],
)
def test_ambiguous_points_of_labelme_are_refused(write_tree, data: bytes, message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        read(write_tree("set", {"a.json": data, "a.png": IMAGE}))


def test_key_points_of_a_held_out_part_have_the_order_of_the_training_part(write_tree) -> None:
    rows = deeplabcut_rows([], ["nose", "ear", "tail"], ["a.png"])
    rows[3][1:] = ["1", "2", "3", "4", "5", "6"]
    other = [["scorer", *["me"] * 4], ["bodyparts", "tail", "tail", "nose", "nose"], ["coords", "x", "y", "x", "y"]]
    other += [["b.png", "7", "8", "9", "10"]]
    files = {"train/CollectedData_me.csv": table(rows), "train/a.png": IMAGE, "val/b.png": IMAGE}
    splits = load_objects(write_tree("set", files | {"val/CollectedData_me.csv": table(other)}))
    assert splits.test.keypoints == ("nose", "ear", "tail")
    assert splits.test.records[0].instances[0].points == (9, 10, 2, 0, 0, 0, 7, 8, 2)
    other[1][1:3] = ["paw", "paw"]
    with pytest.raises(PellucidError, match="the held-out part has the key-points paw, nose, the training part nose"):
        load_objects(write_tree("odd", files | {"val/CollectedData_me.csv": table(other)}))


def test_objects_of_each_form_are_converted_to_coco_with_their_key_points(write_tree) -> None:
    pycocotools = pytest.importorskip("pycocotools.coco")
    names = [f"img{k}.png" for k in range(4)]
    rows = deeplabcut_rows(["m1", "m2"], ["nose", "tail"], names, seed=3)
    path = write_tree("set", {"CollectedData_me.csv": table(rows), **dict.fromkeys(names, IMAGE)})
    converted = convert(path, path.parent / "coco", "coco")
    assert not converted.lost
    coco = pycocotools.COCO(path.parent / "coco/annotations.json")
    expected: dict[str, list[list[float]]] = {}
    for row in rows[4:]:
        for animal in (row[1:5], row[5:9]):
            points = [[float(x), float(y), 2] if x else [0, 0, 0] for x, y in (animal[:2], animal[2:])]
            if any(animal):
                expected.setdefault(row[0], []).append([value for point in points for value in point])
    for image in coco.loadImgs(coco.getImgIds()):
        found = [entry["keypoints"] for entry in coco.loadAnns(coco.getAnnIds(image["id"]))]
        assert found == expected.get(image["file_name"], [])
