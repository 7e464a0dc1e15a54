"""Baselines of tasks, beside scikit-learn, NumPy and a search over all thresholds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, jaccard_score
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data import Arrays, Objects
from pellucid.data.source import Batch
from pellucid.recipe.baseline import baseline_text
from pellucid.recipe.job import train
from pellucid.task import Merit
from pellucid.tasks.detect.baseline import mean_boxes
from pellucid.tasks.keypoints.baseline import mean_shape
from pellucid.tasks.linear_model import linear_baseline
from pellucid.tasks.segment.baseline import brightness_baseline
from pellucid.training.measures import Measures


class ListSource:
    """A source of examples in a list, as plugins write them."""

    classes = None
    checksum = ""

    def __init__(self, images: list[Tensor], targets: list[Any]) -> None:
        self.images, self.targets = images, targets

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Any, rng: torch.Generator) -> Batch:
        return Batch(torch.stack([self.images[k] for k in indices]), [self.targets[k] for k in indices])


def test_linear_baseline_of_pixels_separates_bright_from_dark_and_not_permuted_labels() -> None:
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (300,), generator=rng)
    images = torch.rand(300, 1, 8, 8, generator=rng) * 0.5 + labels[:, None, None, None] * 0.2
    for y, low, high in ((labels, 0.85, 1.0), (labels[torch.randperm(300, generator=rng)], 0.15, 0.5)):
        data = Arrays(images[:200], y[:200], ("a", "b", "c"), "")
        baseline = linear_baseline(data, lambda targets: torch.nn.functional.one_hot(targets, 3), 0)
        assert baseline.name == "a linear model of the pixels"
        assert low <= accuracy_score(y[200:], baseline.predict(images[200:]).argmax(1)) <= high


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("ignored", [7, pytest.param(None, marks=pytest.mark.long)])
def test_brightness_baseline_has_the_best_mean_iou_of_all_thresholds(inverted: bool, ignored: int | None) -> None:
    rng = np.random.default_rng(3)
    masks = (rng.random((6, 20, 24)) < 0.2).astype(np.int64)
    grey = np.clip(np.where(masks != inverted, 140, 100) + 25 * rng.normal(size=masks.shape), 0, 255).round()
    if ignored is not None:
        masks[rng.random(masks.shape) < 0.1] = ignored
    images = torch.from_numpy(grey / 255).float()[:, None].expand(-1, 3, -1, -1).contiguous()
    baseline = brightness_baseline(Arrays(images, torch.from_numpy(masks), None, ""), 2, ignored)
    predicted = baseline.predict(images).argmax(1).numpy()
    counted = masks != ignored if ignored is not None else np.full(masks.shape, True)
    best = max(
        jaccard_score(masks[counted], (grey >= threshold)[counted] != flipped, average="macro", zero_division=0)
        for threshold in range(257)
        for flipped in (False, True)
    )
    assert jaccard_score(masks[counted], predicted[counted], average="macro") == pytest.approx(best, abs=1e-9)
    assert best > 0.6


def test_brightness_baseline_of_three_classes_is_the_most_frequent_class_of_a_brightness() -> None:
    images = torch.tensor([[0, 0, 0, 100, 100, 200]]).reshape(1, 1, 1, 6) / 255
    masks = torch.tensor([[0, 0, 1, 1, 1, 2]]).reshape(1, 1, 6)
    baseline = brightness_baseline(Arrays(images, masks, None, ""), 3, None)
    asked = torch.tensor([0, 100, 200, 50]).reshape(1, 1, 1, 4) / 255
    assert baseline.predict(asked).argmax(1).flatten().tolist() == [0, 1, 2, 1]  # 50 occurs nowhere: the largest class


def test_mean_shape_averages_labelled_points_relative_to_the_image() -> None:
    points = torch.tensor([[[2.0, 4.0, 2.0], [0.0, 0.0, 0.0]], [[6.0, 8.0, 1.0], [8.0, 2.0, 2.0]]])
    baseline = mean_shape(Arrays(torch.zeros(2, 1, 8, 16), points, None, ""))
    expected = torch.tensor([[8.0, 12.0, 1.0], [16.0, 4.0, 1.0]])  # in an image of twice the size
    torch.testing.assert_close(baseline.predict(torch.zeros(3, 1, 16, 32)), expected.expand(3, -1, -1))


def test_mean_boxes_are_scored_by_the_share_of_images_with_the_class() -> None:
    objects = [
        Objects(torch.tensor([[0.0, 0, 4, 4], [4.0, 4, 8, 8], [0.0, 0, 8, 2]]), torch.tensor([1, 1, 0])),
        Objects(torch.tensor([[2.0, 2, 6, 6]]), torch.tensor([1])),
        Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
    ]
    source: Any = ListSource([torch.zeros(1, 8, 16)] * 3, objects)
    (found,) = mean_boxes(source).predict(torch.zeros(1, 1, 4, 8))
    torch.testing.assert_close(found.boxes, torch.tensor([[1.0, 1, 3, 3], [0.0, 0, 4, 1]]))
    torch.testing.assert_close(found.scores, torch.tensor([2 / 3, 1 / 3]))
    assert found.labels.tolist() == [1, 0]
    assert found.masks is None


@pytest.mark.parametrize(("own", "is_error", "warned"), [(0.4, False, True), (0.6, False, False), (0.4, True, False)])
def test_a_model_below_its_baseline_says_so(own: float, is_error: bool, warned: bool) -> None:
    results = {"figure": own, "baseline": {"name": "a trivial model", "figure": 0.5}}
    text = baseline_text([Merit("missing", "other"), Merit("figure", "figure", is_error=is_error)], results)
    assert text.startswith("figure 50.00 % by a trivial model")
    assert ("NOT BETTER" in text) == warned
    assert baseline_text([Merit("missing", "other")], results) == baseline_text([Merit("figure", "")], {}) == ""


def test_a_training_writes_its_baseline(tmp_path: Path) -> None:
    settings = {"train.epochs": 1, "optimizer.lr": 1e-7, "train.metrics": ["accuracy", "ece"]}
    run = train("digits", out=tmp_path, progress=False, **settings)
    baseline = run.metrics["baseline"]
    assert 0 <= baseline["ece"] <= 1  # which needs probabilities
    assert baseline["name"] == "a linear model of the pixels"
    assert run.metrics["accuracy"] < 0.5 < baseline["accuracy"] <= 1
    assert "NOT BETTER" in run.report.read_text("utf-8")


def test_a_metric_that_refuses_the_baseline_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*arguments: Any) -> None:
        raise PellucidError("metric of mine: give integers")

    monkeypatch.setattr("pellucid.recipe.baseline.Measures", type("Refusing", (Measures,), {"update": refuse}))
    run = train("digits", out=tmp_path, progress=False, **{"train.epochs": 1})
    assert "baseline" not in run.metrics
    assert "no comparison with a linear model of the pixels: metric of mine" in capsys.readouterr().err
