"""The worst images of a report show the detections that `pellucid detect` shows by default."""

from types import SimpleNamespace
from typing import Any

import torch

from pellucid.data.source import Batch
from pellucid.ops.image_objects import Detections, Objects
from pellucid.tasks.detect.report import find_worst_images
from pellucid.tasks.detect.thresholds import MIN_SCORE

BOX = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
IMAGE = torch.zeros(1, 3, 8, 8)


class OneImage:
    """A source of one image with one object."""

    names = ("a.png",)

    def __len__(self) -> int:
        return 1

    def batch(self, indices: list[int], rng: torch.Generator) -> Any:
        return Batch(IMAGE, [Objects(BOX, torch.tensor([0]))])


def test_only_detections_that_the_commands_show_are_drawn() -> None:
    scores = torch.tensor([MIN_SCORE + 0.1, MIN_SCORE, MIN_SCORE - 0.1])
    detections = Detections(BOX.repeat(3, 1), scores, torch.zeros(3, dtype=torch.int64))
    model: Any = SimpleNamespace(predict=lambda images: [detections], preprocess={})
    source: Any = OneImage()
    (marks,) = find_worst_images(model, source).marks
    assert marks.texts == ["", "0.60", "0.50"]  # the annotated box, and two detections
