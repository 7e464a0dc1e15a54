"""The score from which detections count, beside a search over all scores with matching written for this test."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid.cli.main import main
from pellucid.data.samples.cells import blood_smear
from pellucid.data.source import Batch
from pellucid.model import Model
from pellucid.ops.image_objects import Detections, Objects
from pellucid.tasks.detect import Detection
from pellucid.tasks.detect.score_choice import score_curve
from pellucid.tasks.detect.thresholds import MIN_SCORE, score_of


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Return the IoU of two boxes x0, y0, x1, y1."""
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


def right_at(minimum: float, images: list[tuple[Detections, Objects]]) -> tuple[int, int, int]:
    """Return how many detections from a score on are right, how many there are, and the number of objects."""
    n_right = n_detected = n_objects = 0
    for detections, objects in images:
        free, n_objects = set(range(len(objects))), n_objects + len(objects)
        for box, score, label in zip(
            detections.boxes.numpy(), detections.scores.tolist(), detections.labels.tolist(), strict=True
        ):
            if score < minimum:
                continue
            n_detected += 1
            overlaps = {k: iou(box, objects.boxes[k].numpy()) for k in free if int(objects.labels[k]) == label}
            best = max(overlaps, key=lambda k: overlaps[k], default=None)
            if best is not None and overlaps[best] >= 0.5:
                free.remove(best)
                n_right += 1
    return n_right, n_detected, n_objects


def random_images(seed: int, digits: int) -> list[tuple[Detections, Objects]]:
    """Return images whose detections are jittered objects and noise; `digits` of the scores, so that some are equal."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(8):
        corners = rng.uniform(0, 40, (rng.integers(0, 6), 2))
        boxes = np.concatenate([corners, corners + rng.uniform(5, 15, corners.shape)], 1)
        labels = rng.integers(0, 2, len(boxes))
        found = np.concatenate(
            [boxes + rng.normal(0, 1.2, boxes.shape), rng.uniform(0, 10, (3, 4)) + np.array([0, 0, 12, 12])]
        )
        found_labels = np.concatenate([labels, rng.integers(0, 2, 3)])
        scores = np.concatenate([rng.uniform(0.3, 1, len(boxes)), rng.uniform(0, 0.7, 3)]).round(digits)
        order = np.argsort(-scores, kind="stable")
        detections = Detections(
            torch.tensor(found[order]).float(), torch.tensor(scores[order]).float(), torch.tensor(found_labels[order])
        )
        images.append((detections, Objects(torch.tensor(boxes).float().reshape(-1, 4), torch.tensor(labels))))
    return images


@pytest.mark.parametrize("digits", [1, 6])
@pytest.mark.parametrize("seed", range(4))
def test_the_best_score_has_the_highest_f1_of_all(seed: int, digits: int) -> None:
    images = random_images(seed, digits)
    curve = score_curve([detections for detections, _ in images], [objects for _, objects in images])
    f1_by_score = {}
    for score, precision, recall in zip(curve.scores, curve.precision, curve.recall, strict=True):
        n_right, n_detected, n_objects = right_at(float(score), images)
        assert float(precision) == pytest.approx(n_right / n_detected)
        assert float(recall) == pytest.approx(n_right / n_objects)
        f1_by_score[float(score)] = 2 * n_right / (n_detected + n_objects)
    assert len(f1_by_score) == len({float(score) for detections, _ in images for score in detections.scores})
    best = curve.best
    assert best is not None
    n_right, n_detected, n_objects = right_at(best, images)
    assert 2 * n_right / (n_detected + n_objects) == pytest.approx(max(f1_by_score.values()))


def test_no_score_is_chosen_without_a_right_detection() -> None:
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    one = Objects(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([0]))
    wrong = Detections(torch.tensor([[10.0, 10, 14, 14]]), torch.tensor([0.9]), torch.tensor([0]))
    assert score_curve([nothing], [one]).best is None
    assert score_curve([wrong], [one]).best is None
    assert score_curve([wrong], [Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))]).best is None


def test_crowds_count_neither_as_objects_nor_as_errors() -> None:
    boxes, labels = torch.tensor([[0.0, 0, 8, 8], [20.0, 20, 28, 28]]), torch.tensor([0, 0])
    objects = Objects(boxes, labels, crowd=torch.tensor([False, True]))
    found = Detections(objects.boxes, torch.tensor([0.6, 0.9]), objects.labels)
    curve = score_curve([found], [objects])
    assert (curve.precision.tolist(), curve.recall.tolist()) == ([1.0], [1.0])
    assert curve.best == pytest.approx(0.3)


class FixedModel:
    """A model whose detections are those of the test."""

    def __init__(self, detections: list[Detections]) -> None:
        self.preprocess: dict[str, Any] = {}
        self.remaining = [*detections]

    def predict(self, images: Any) -> list[Detections]:
        return [self.remaining.pop(0)]


class ListSource:
    """A source of images with objects."""

    def __init__(self, objects: list[Objects]) -> None:
        self.objects = objects

    def __len__(self) -> int:
        return len(self.objects)

    def batch(self, indices: list[int], rng: Any) -> Any:
        return Batch(torch.zeros(1, 3, 50, 50), [self.objects[k] for k in indices])


def test_training_stores_the_score_once_and_commands_use_it() -> None:
    images = random_images(0, 6)
    model: Any = FixedModel([detections for detections, _ in images])
    source: Any = ListSource([objects for _, objects in images])
    assert score_of(model) == MIN_SCORE
    assert Detection().finish(model, None, source, None)
    chosen = score_curve([d for d, _ in images], [o for _, o in images]).best
    assert model.preprocess["thresholds"] == [chosen]
    assert score_of(model) == chosen != MIN_SCORE
    assert not Detection().finish(model, None, source, None)


def test_the_chosen_score_is_stored_in_the_file_and_replaced_by_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, strict, picture = Model.load("bccd"), str(tmp_path / "strict.safetensors"), str(tmp_path / "cells.png")
    model.preprocess["thresholds"] = [0.9999]
    model.save(strict)
    assert score_of(Model.load(strict)) == 0.9999
    blood_smear(0, 160, 120)[0].save(picture)
    counts = []
    for words, score in (([], 0.9999), (["--score", "0.3"], 0.3)):
        assert main(["detect", strict, picture, "--json", *words]) == 0
        values = json.loads(capsys.readouterr().out)
        assert values["score"] == score
        counts.append(len(values["pictures"][0]["detections"]))
    assert counts[0] < counts[1]
    assert main(["serve", "mnist-lenet", "--port", "0", "--score", "0.3"]) == 2
    assert "mnist-lenet is a classifier, which has no such score" in capsys.readouterr().err


def test_without_validation_every_second_test_image_chooses() -> None:
    images = random_images(1, 6)
    model: Any = FixedModel([detections for detections, _ in images[::2]])
    source: Any = ListSource([objects for _, objects in images])
    assert Detection().finish(model, None, None, source)
    curve = score_curve([detections for detections, _ in images[::2]], [objects for _, objects in images[::2]])
    assert model.preprocess["thresholds"] == [curve.best]
