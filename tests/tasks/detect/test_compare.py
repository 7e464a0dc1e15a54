"""The comparison of detectors: reused runs, times of stages, R-CNN's proposals, and the table."""

import json

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder
from pellucid.model import Model
from pellucid.recipe import resume
from pellucid.tasks.comparison import ComparedRow
from pellucid.tasks.detect.compare import compare_detectors, comparison_of
from pellucid.tasks.detect.doctor import CHECKS, diagnose_detector
from pellucid.tasks.detect.doctor.cases import case_of_detector
from pellucid.tasks.detect.stages import StageTimes, mean_stages, timed_predictor
from tests.detectors.drawn import Rectangles, small_single_stage, small_yolo1
from tests.detectors.test_fast import small_fast
from tests.detectors.test_mask import small_mask
from tests.doctor.detection.test_objects import write_voc
from tests.oracle import assert_close


@pytest.mark.parametrize("make_detector", [small_single_stage, small_yolo1, small_fast, small_mask])
def test_a_timed_detector_detects_the_same_and_its_stages_add_up(make_detector):
    model = Model(make_detector(), input_shape=(3, None, None), metrics=())
    image = Rectangles().batch([0], None).images.float() / 255
    with torch.inference_mode():
        actual, stages = timed_predictor(model.objective, model.params)(image)
        (expected,) = model.objective.predict(model.params, image)
    assert_close([actual.boxes, actual.scores], [expected.boxes, expected.scores], 1e-4)
    assert min(stages) >= 0 < min(stages.features, stages.heads)
    assert stages.total == pytest.approx(sum(stages))
    assert mean_stages([stages, stages]) == pytest.approx(stages)


def compared_detector(name, title, run, masks=None):
    figures = {"ap": 0.4, "ap50": 0.7, "ap_small": 0.1, "ap_medium": 0.5, "ap_large": float("nan")}
    stages = StageTimes(0.03, 0.0, 0.01, 0.002)
    values = {"figures": figures, "masks": masks, "stages": stages._asdict(), "seconds": stages.total, "run": run}
    return ComparedRow(name, title, values, run=run)


@pytest.mark.slow
def test_table_and_page_have_all_detectors():
    rows = (compared_detector("rcnn", "R-CNN", ""), compared_detector("ssd", "SSD", "ssd-1"))
    comparison = comparison_of("cells", 205, 87, 0, "a file", rows)
    assert comparison.table().rows[0][:8] == ["R-CNN", "70.0", "-", "-", "40.0", "10.0", "50.0", "-"]
    assert comparison.table().rows[0][-5:] == ["30.0", "0.0", "10.0", "2.0", "42.0"]
    assert "R-CNN learned from 60 of the 205 training images" in comparison.notes[1]
    assert len(comparison_of("cells", 205, 87, 0, "a file", rows[1:]).notes) == 1
    page = comparison.page("pellucid compare cells")
    assert page.html().count("SSD") >= 3
    assert set(page.figures) == {
        "figures-ap50", "figures-ap_small", "figures-ap_medium", "figures-ap_large", "seconds",
    }  # fmt: skip
    assert json.loads(json.dumps(comparison.to_json()))["rows"][0]["stages"]["features"] == 0.03
    masks = (compared_detector("mask", "Mask R-CNN", "m-1", {"ap": 0.3, "ap50": 0.6}),)
    with_masks = comparison_of("cells", 205, 87, 0, "a file", masks).table()
    assert ("mask AP50", "60.0") in zip(with_masks.head, with_masks.rows[0], strict=True)


@pytest.mark.heavy
@pytest.mark.real
def test_finished_training_with_the_same_recipe_is_not_repeated(tmp_path, monkeypatch):
    overrides = {
        "train.epochs": 1, "data.size": 32, "train.batch_size": 4, "objective.backbone": "airbench96",
        "start.weights": "", "train.frozen": [], "train.rates": [], "objective.channels": 16,
    }  # fmt: skip
    folder, runs = str(write_voc(tmp_path / "set", lambda *box: box)), tmp_path / "runs"
    first = compare_detectors(folder, only=["ssd"], overrides=overrides, runs=runs)
    monkeypatch.setattr(resume, "train_in", None)
    second = compare_detectors(folder, only=["ssd"], overrides=overrides, runs=runs)
    assert second.rows[0].values["figures"] == pytest.approx(first.rows[0].values["figures"], nan_ok=True)
    assert first.rows[0].run == second.rows[0].run == str(runs / "bccd-ssd-1")
    assert (first.facts["train"], first.facts["held_out"]) == (10, 2)
    assert second.to_json()["rows"][0]["interval"] == pytest.approx(second.intervals["ssd"]["interval"])
    case = case_of_detector(runs / "bccd-ssd-1", folder)
    assert case.trained
    assert set(diagnose_detector(case).checks) == {check.name for check in CHECKS}
    with pytest.raises(TypeError):  # another seed needs another training
        compare_detectors(folder, seed=1, only=["ssd"], overrides=overrides, runs=runs)


def test_unknown_detector_or_data_without_boxes_is_refused(tmp_path):
    folder = str(write_voc(tmp_path / "set", lambda *box: box))
    with pytest.raises(PellucidError, match=r"no detector .sdd. for .*did you mean .ssd."):
        compare_detectors(folder, only=["sdd"])
    with pytest.raises(PellucidError, match="digits"):
        compare_detectors("digits")


@pytest.mark.heavy
@pytest.mark.real
def test_linear_classifiers_on_trained_features_detect_rectangles(tmp_path):
    from pellucid.tasks.detect.linear import LinearDetector

    source = DetectionFolder(write_voc(tmp_path, lambda *box: box), size=128)
    rng = torch.Generator().manual_seed(0)
    proposals = {}
    for k, name in enumerate(source.names):
        near_boxes = source.records[k].objects().boxes.repeat_interleave(6, 0)
        jittered = near_boxes + 2 * torch.randn(near_boxes.shape, generator=rng)
        corners = torch.rand(30, 2, generator=rng) * 30
        random_boxes = torch.cat([corners, corners + 6 + 10 * torch.rand(30, 2, generator=rng)], 1)
        proposals[name.split("/")[-1]] = torch.cat([jittered, random_boxes])
    with torch.inference_mode():
        detector = LinearDetector(2, proposals).fit(source, 0)
        detections = detector.detections(source, 0)
    objects = source.example(0)[1]
    from pellucid.ops.boxes import box_iou

    best_ious = box_iou(objects.boxes, detections.regressed.boxes[: len(objects) + 1]).amax(1)
    assert bool((best_ious > 0.5).all())
    assert len(detections.unregressed)
    assert detector.parameters > 500_000  # most of them in MobileNetV2 up to its fifth stage
