"""Open cases: numbers that are read as another shape."""

import math
from pathlib import Path

from .cases import Case, Expected, both
from .draw import Scene, Thing, boxes, faces
from .facts import of_boxes, of_points
from .forms import coco, coco_part, labelme, shape, text, yolo_part

SHIP = ("boat", "ship")
CORNERS = boxes("coco_corners", "harbour", SHIP, 22, low=True)
POSES = faces("pose_without_shape", "face", 22)
COIN = ("cent", "euro")
# The points in the order in which labelme's user would sort them too, so that no reader can number them otherwise.
POINTS = ("eye_left", "eye_right", "mouth", "nose")
CLICKS = faces("clicked_order", "portrait", 20)
# Orders in which the points were clicked: in the first picture the usual one, then whatever came first.
ORDERS = ((0, 1, 2, 3), (3, 0, 1, 2), (1, 0, 3, 2), (2, 3, 1, 0))


def discs() -> list[Scene]:
    """Pictures whose objects are square boxes: made so, as circles are to have the same box as their twin."""
    scenes = []
    for scene in boxes("labelme_circles", "coins", COIN, 20):
        things = []
        for thing in scene.things:
            radius = min(thing.x1 - thing.x0, thing.y1 - thing.y0) // 2
            side = (thing.x0, thing.y0, thing.x0 + 2 * radius, thing.y0 + 2 * radius)
            things.append(Thing(thing.label, *side))
        scenes.append(Scene(scene.name, scene.picture, tuple(things)))
    return scenes


COINS = discs()


def case_coco_corners(folder: Path, twin: bool) -> None:
    """The trap: `bbox` holds two corners, not a corner and a size. Nothing else in the file says so."""
    for part, scenes in (("train", CORNERS[:16]), ("val", CORNERS[16:])):
        table = coco(scenes, SHIP)
        for found in table["annotations"]:
            x, y, wide, high = found["bbox"]
            del found["area"]
            found["bbox"] = [x, y, wide, high] if twin else [x, y, x + wide, y + high]
        coco_part(folder, part, scenes, table)


def case_pose_without_shape(folder: Path, twin: bool) -> None:
    """The trap: no `kpt_shape`. 5 + 12 numbers: 4 points with visibility, or 6 without, or a polygon of 8 points."""
    shape_of_points = "kpt_shape: [4, 3]\n" if twin else ""
    text(folder / "data.yaml", f"train: images/train\nval: images/val\n{shape_of_points}nc: 1\nnames: ['face']\n")
    for part, scenes in (("train", POSES[:16]), ("val", POSES[16:])):
        yolo_part(folder / "images" / part, folder / "labels" / part, scenes, ("face",))


def circle(thing: Thing) -> dict:
    """labelme's circle: its centre, and a point of its edge at some angle, here at 3 to 4."""
    x, y, radius = (thing.x0 + thing.x1) / 2, (thing.y0 + thing.y1) / 2, (thing.x1 - thing.x0) / 2
    edge = [x + 0.6 * radius, y + 0.8 * radius]
    assert math.isclose(math.dist((x, y), edge), radius)
    return shape(thing.label, [[x, y], edge], "circle")


def case_labelme_circles(folder: Path, twin: bool) -> None:
    """The trap: circles. As two corners of a box, their points give a box of a quarter of the size or less."""
    for scene in COINS:
        corners = [[[thing.x0, thing.y0], [thing.x1, thing.y1]] for thing in scene.things]
        plain = [shape(thing.label, points, "rectangle") for thing, points in zip(scene.things, corners, strict=True)]
        labelme(folder, scene, plain if twin else [circle(thing) for thing in scene.things])


def case_clicked_order(folder: Path, twin: bool) -> None:
    """The trap: the points are in another order in each file; only their labels say which is which."""
    for number, scene in enumerate(CLICKS):
        thing = scene.things[0]
        frame = shape("face", [[thing.x0, thing.y0], [thing.x1, thing.y1]], "rectangle", 1)
        points = [shape(label, [list(at)], "point", 1) for label, at in zip(POINTS, scene.points, strict=True)]
        order = ORDERS[0 if twin else number % len(ORDERS)]
        labelme(folder, scene, [frame, *(points[index] for index in order)])


CASES = [
    Case(
        "coco_corners", "lines", "detect", False,
        "A script wrote COCO's JSON from a detector's boxes and forgot that COCO wants a corner and a size.",
        case_coco_corners,
        trap=Expected("refuse", words=("train.json|harbour_", "corner|width|leave|outside|beyond|x1|xmax|size")),
        twin=of_boxes(CORNERS[:16], CORNERS[16:], SHIP),
    ),
    Case(
        "pose_without_shape", "lines", "keypoints", True,
        "Labels of YOLO pose came with the data.yaml of another export, which has no kpt_shape.",
        case_pose_without_shape,
        **both(of_points(POSES[:16], POSES[16:]), "read_or_refuse", ("kpt_shape|visib|key-point|keypoint",)),
    ),
    Case(
        "labelme_circles", "lines", "detect", False,
        "Coins were marked with labelme's circle tool, which stores the centre and one point of the edge.",
        case_labelme_circles, **both(of_boxes(COINS, [], COIN), "read"),
    ),
    Case(
        "clicked_order", "lines", "keypoints", False,
        "Points were clicked in labelme in whatever order came to hand, each with its label.",
        case_clicked_order, **both(of_points(CLICKS, []), "read"),
    ),
]  # fmt: skip
