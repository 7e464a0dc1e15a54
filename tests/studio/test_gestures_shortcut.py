"""Shortcuts: two classes that a model tells apart by the edges of their frames."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pellucid.model import Model
from pellucid.studio.gestures.shortcut import shortcuts
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
@pytest.mark.parametrize("rooms", [("light", "blue"), ("grey", "sand")])
def test_one_object_in_two_rooms_is_a_shortcut(shape: str, rooms: tuple[str, str], tmp_path: Path) -> None:
    """The middle shows the rooms too, so that exchanged edges change the answers of half of the frames only."""
    answer = fitted(tmp_path, *((shape, room) for room in rooms))
    (sentence,) = answer["shortcuts"]
    assert "shortcut: class 0 and class 1 are told apart by their background" in sentence


@pytest.mark.parametrize("rooms", [("light", "blue"), ("grey", "sand")])
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
