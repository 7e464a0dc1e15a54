"""The benchmark of time to quality: its figures against examples computed by hand, its epochs and its page."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality import page
from benchmarks.quality.judge import judge_boxes, judge_classes, judge_masks
from benchmarks.quality.point import epochs_within
from benchmarks.quality.sets import SETS


def test_epochs_follow_from_the_line_through_two_trainings():
    """A start of 10 s and epochs of 5 s: 10 of them take the minute."""
    assert epochs_within(60, [[1, 15.0], [3, 25.0]]) == 10
    assert epochs_within(59, [[3, 25.0], [1, 15.0], [2, 20.0]]) == 9


def test_one_training_is_followed_by_a_longer_one():
    assert epochs_within(60, []) == 1
    assert epochs_within(60, [[1, 15.0]]) == 4
    assert epochs_within(60, [[1, 50.0]]) == 2
    assert epochs_within(60, [[1, 50.0], [2, 90.0]]) == 1


@pytest.mark.parametrize(("predicted", "ap50"), [([10, 10, 20, 20], 1.0), ([10, 10, 10, 20], 1.0), ([40, 40, 5, 5], 0)])
def test_boxes_are_judged_by_their_iou(tmp_path, predicted, ap50):
    """The second box covers half of the object: an IoU of exactly 0.5, which counts for AP50, and for no other IoU."""
    truth = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "categories": [{"id": 0, "name": "cell"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 0, "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0}
        ],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    box = {"image": "a.jpg", "class": "cell", "box": predicted, "score": 0.9}
    (tmp_path / "predictions").write_text(json.dumps([box]))
    figures = judge_boxes(tmp_path, tmp_path / "predictions")
    assert figures["ap50"] == pytest.approx(ap50)
    assert figures["ap"] == pytest.approx(1.0 if predicted[2] == 20 else ap50 / 10)


def test_a_missing_class_prediction_is_an_error(tmp_path):
    (tmp_path / "truth.json").write_text(json.dumps({"a.png": "x", "b.png": "y", "c.png": "x", "d.png": "y"}))
    predictions = tmp_path / "predictions"
    predictions.write_text(json.dumps({"a.png": "x", "b.png": "x", "c.png": "x", "d.png": "y"}))
    assert judge_classes(tmp_path, predictions) == {"accuracy": 0.75}
    predictions.write_text(json.dumps({"a.png": "x"}))
    with pytest.raises(KeyError):
        judge_classes(tmp_path, predictions)


def test_the_iou_is_that_of_all_pixels_of_the_membranes(tmp_path):
    """One of 2 x 2 pixels is a membrane in both masks, and one in each of them alone."""
    for name, mask in {"truth": [[0, 0], [255, 255]], "predictions": [[0, 255], [0, 255]]}.items():
        (tmp_path / name).mkdir()
        Image.fromarray(np.array(mask, np.uint8)).save(tmp_path / name / "0.png")
    assert judge_masks(tmp_path, tmp_path / "predictions") == {"iou": pytest.approx(1 / 3)}


def test_the_page_has_the_mean_and_the_range_and_says_what_is_missing():
    row = SETS["masks"].peer_title
    common = {
        "epochs": 4,
        "seconds": 58.4,
        "date": "2026-11-29",
        "commit": "0" * 8,
        "cores": 2,
        "cpu": "x",
        "torch": "2",
    }
    points = {
        page.point_key("masks", row, 1, seed): {**common, "accuracy": accuracy, "load": load}
        for seed, accuracy, load in ((0, 0.9, 0.1), (2, 0.8, 3.0))
    }
    text = page.text({"points": points})
    assert f"| {row} | 85.0 % (80.0 to 90.0)†; 4 epochs, 58 s, 2 of 3 seeds | not yet measured |" in text
    assert text.count("not yet measured") == 2 * sum(len(page.rows(name)) for name in SETS) - 1
