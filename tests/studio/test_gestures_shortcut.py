"""Classes that a model tells apart by their backgrounds alone, and the scene without an object."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from pellucid.model import Model
from pellucid.studio.gestures.shortcut import empty_scene, shortcuts
from pellucid.studio.runs import Runs
from pellucid.studio.view import Library
from tests.studio.collected import COLOURS, outline
from tests.studio.talk import Tab

ROOMS = {  # colours of the wall and of the table, which are seen around the shape too
    "light": ((165, 155, 120), (110, 80, 55)),
    "blue": ((60, 90, 140), (60, 60, 60)),
    "grey": ((90, 90, 90), (80, 80, 80)),
    "sand": ((200, 180, 150), (205, 185, 160)),
}


def room_frame(shape: str, room: str, number: int) -> Tensor:
    """Return a shape that moves and turns in the middle of a plain room, with noise."""
    rng = random.Random(f"{shape} {room} {number}")
    wall, table = ROOMS[room]
    image = Image.new("RGB", (171, 128), wall)
    image.paste(table, (0, 80, 171, 128))
    mask = outline(shape).rotate(rng.uniform(-20, 20))
    image.paste(COLOURS[shape], (54 + rng.randint(-10, 10), 33 + rng.randint(-10, 10)), mask)
    noise = np.random.default_rng(number).normal(0, 3, (128, 171, 3))
    return torch.from_numpy((np.array(image) + noise).clip(0, 255).astype(np.uint8)).permute(2, 0, 1)


def fitted(folder: Path, *classes: tuple[str, str]) -> Any:
    """Return the answer to gestures.fit for classes of 25 frames, each a shape in a room."""
    tab = Tab(Library(("mnist-mlp-100",), Model.load, Runs(folder)))
    tab.ask("gestures.open")
    for index, (shape, room) in enumerate(classes):
        tab.ask("gestures.edit", name=None, becomes=f"class {index}")
        for number in range(25):
            tab.ask("gestures.collect", {"frame": room_frame(shape, room, number)}, name=f"class {index}", stretch=1)
    return tab.ask("gestures.fit")


@pytest.mark.parametrize("shape", ["circle", "cross"])
@pytest.mark.parametrize("rooms", [("light", "blue"), pytest.param(("grey", "sand"), marks=pytest.mark.heavy)])
@pytest.mark.slow
def test_one_object_in_two_rooms_is_a_shortcut(shape: str, rooms: tuple[str, str], tmp_path: Path) -> None:
    """The middle shows the rooms too, so that exchanged edges change the answers of half of the frames only."""
    answer = fitted(tmp_path, *((shape, room) for room in rooms))
    (sentence,) = answer["shortcuts"]
    assert "shortcut: class 0 and class 1 are told apart by their background" in sentence


@pytest.mark.parametrize("rooms", [("light", "blue"), pytest.param(("grey", "sand"), marks=pytest.mark.heavy)])
@pytest.mark.slow
def test_two_objects_in_two_rooms_are_no_shortcut(rooms: tuple[str, str], tmp_path: Path) -> None:
    answer = fitted(tmp_path, ("circle", rooms[0]), ("cross", rooms[1]))
    assert answer["shortcuts"] == []


@pytest.mark.parametrize("n_followed", [0, 5, 6, 7, 14])
def test_a_shortcut_of_a_known_rule_is_counted(n_followed: int) -> None:
    """Classes of brightness: the rule looks at a corner of the edge in some pictures, at the centre in the others."""
    x = torch.cat([torch.full((9, 3, 20, 20), 0.2), torch.full((7, 3, 20, 20), 0.8)])
    y = torch.tensor([0] * 9 + [1] * 7)

    def predict(pictures: Tensor) -> Tensor:
        bright = torch.where(torch.arange(14) < n_followed, pictures[:, 0, 1, 1], pictures[:, 0, 10, 10])
        return torch.stack([1 - bright, bright], 1)

    found = [(one.classes, round(14 * one.followed), one.count) for one in shortcuts(predict, x, y)]
    # Of 14 tries with probability 1/4, 7 or more succeed in 4 of 100 cases, 6 or more in 11, by scipy.stats.binom.
    assert found == ([((0, 1), n_followed, 14)] if n_followed >= 7 else [])
    x[9:, :, 4:] = 0.2  # the backgrounds differ at the top side only
    assert shortcuts(predict, x, y) == []


def desk(seed: int, noise: float) -> Tensor:
    """Return a rough desk (3, 64, 64), 0 to 1, with the noise of one frame."""
    rough = np.random.default_rng(0).uniform(0.3, 0.7, (16, 16, 3)).repeat(4, 0).repeat(4, 1)
    return torch.from_numpy(rough + np.random.default_rng(seed).normal(0, noise, rough.shape)).float().permute(2, 0, 1)


def desk_frames(places: list[list[tuple[int, int]]], noise: float = 0.02) -> tuple[Tensor, Tensor]:
    """Return pictures and classes: of each class a black or white square, 16 pixels wide, at each of its places."""
    pictures = list[Tensor]()
    for label, corners in enumerate(places):
        for row, column in corners:
            pictures.append(desk(len(pictures), noise))
            pictures[-1][:, row : row + 16, column : column + 16] = float(label % 2)
    return torch.stack(pictures), torch.tensor([label for label, corners in enumerate(places) for _ in corners])


def moved(seed: int, count: int = 25) -> list[tuple[int, int]]:
    rng = random.Random(seed)
    return [(rng.randint(0, 48), rng.randint(0, 48)) for _ in range(count)]


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_the_scene_without_its_objects_is_put_together(noise: float, n_classes: int) -> None:
    x, y = desk_frames([moved(label) for label in range(n_classes)], noise)
    scene = empty_scene(x, y)
    assert scene is not None
    assert scene.label is None
    difference = scene.picture - desk(0, 0)
    assert float(difference.abs().mean()) < 0.01 + noise  # of normal noise 0.8 of its deviation; of a square 0.5
    assert float(difference.std()) == pytest.approx(noise, abs=0.01)  # as one frame has it, and no mean of frames


@pytest.mark.parametrize("soft", [0.6, 1.5, 3.0])
@pytest.mark.parametrize("shadow", [0.0, 0.05, 0.09])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_no_outline_or_shadow_of_an_object_remains_in_the_scene(soft: float, shadow: float, noise: float) -> None:
    pictures = [desk(k, noise).numpy() for k in range(50)]
    for k, (row, column) in enumerate(moved(1) + moved(2)):
        cover = np.zeros((64, 64))
        cover[row : row + 16, column : column + 16] = 1
        darkened = pictures[k] * (1 - 2 * shadow * gaussian_filter(np.roll(cover, (3, 3), (0, 1)), 2))
        cover = gaussian_filter(cover, soft)
        pictures[k] = darkened * (1 - cover) + cover * (k // 25)
    scene = empty_scene(torch.from_numpy(np.stack(pictures)).float(), torch.arange(50) // 25)
    assert scene is not None
    error = F.avg_pool2d(scene.picture - desk(0, 0), 5, 1)
    assert float(error.abs().max()) < 0.02 + noise  # of means of noise; objects differ by 0.3 to 0.7


@pytest.mark.parametrize("kind", ["at rest", "moved camera", "two desks", "two classes of the scene"])
def test_no_scene_is_made_up(kind: str) -> None:
    x, y = desk_frames([moved(1), moved(2)])
    if kind == "at rest":
        x, y = desk_frames([[(4, 4)] * 25, [(40, 40)] * 25])
    elif kind == "moved camera":
        x = torch.stack([one.roll((7 * k % 64, 11 * k % 64), (1, 2)) for k, one in enumerate(x)])
    elif kind == "two desks":
        x[y == 1] = x[y == 1].flip(2)
    else:
        x = torch.stack([desk(k, 0.02) for k in range(50)])
    assert empty_scene(x, y) is None


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize("n_classes", [3, 5])
def test_the_class_that_shows_the_scene_itself_is_found(label: int, n_classes: int) -> None:
    x, y = desk_frames([[(4, 4)] * 25 if k == (label + 1) % n_classes else moved(k) for k in range(n_classes)])
    x[y == label] = torch.stack([desk(k, 0.02) for k in range(25)])
    scene = empty_scene(x, y)  # a class at rest is none
    assert scene is not None
    assert scene.label == label


@pytest.mark.parametrize(
    "classes",
    [("circle", "pen"), ("circle", "square", "pen"), ("circle", "cross"), ("circle", ""), ("", "cross", "pen")],
)
def test_a_scene_that_is_read_as_a_class_is_remarked(classes: tuple[str, ...], tmp_path: Path) -> None:
    """The remark comes exactly if the model answers the true scene with a class that is not the scene's own.

    Of a class that shows the scene itself, alike frames are no fault, and neither is a plain surface.
    """
    frames = {shape: [still_frame(shape, number) for number in range(25)] for shape in classes}
    tab = Tab(Library(("mnist-mlp-100",), Model.load, Runs(tmp_path)))
    tab.ask("gestures.open")
    for shape, pictures in frames.items():
        tab.ask("gestures.edit", name=None, becomes=shape or "nothing")
        for picture in pictures:
            tab.ask("gestures.collect", {"frame": picture}, name=shape or "nothing", stretch=1)
    all_remarks = tab.ask("gestures.fit")["remarks"]
    assert not any("frames of nothing" in one for one in all_remarks)
    remarks = [one for one in all_remarks if "the scene without an object" in one]
    answer = tab.ask("gestures.predict", {"frame": still_frame("", 99)})
    is_class = not answer["is_unsure"] and not answer["is_unlike"] and answer["label"] != "nothing"
    assert len(remarks) == is_class
    assert all(f"is read as {answer['label']} (" in one for one in remarks)


def still_frame(shape: str, number: int) -> Tensor:
    """Return a shape, "" for none, anywhere in one room, before a camera at rest."""
    rng = random.Random(f"{shape} {number}")
    wall, table = ROOMS["light"]
    image = Image.new("RGB", (171, 128), wall)
    image.paste(table, (0, 60, 171, 128))
    if shape == "pen":
        left, top = rng.randint(0, 108), rng.randint(0, 120)
        image.paste((30, 30, 120), (left, top, left + 60, top + 5))
    elif shape:
        corner = (rng.randint(0, 108), rng.randint(0, 65))
        image.paste(COLOURS[shape], corner, outline(shape).rotate(rng.uniform(0, 90)))
    noise = np.random.default_rng(number).normal(0, 3, (128, 171, 3))
    return torch.from_numpy((np.array(image) + noise).clip(0, 255).astype(np.uint8)).permute(2, 0, 1)
