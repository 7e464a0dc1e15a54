"""The results of a detector and their page, on an image whose overlaps are computed by hand."""

import json
import math
from dataclasses import replace

import pytest
import torch
from matplotlib.patches import Rectangle

from conformance.detection import draw_set, pycocotools_figures
from pellucid.base.errors import PellucidError
from pellucid.command.out import to_json_types
from pellucid.metrics.coco import FIGURES
from pellucid.ops.image_objects import Detections, Objects
from pellucid.tasks.detect.findings import findings
from pellucid.tasks.detect.page import METRIC_DESCRIPTIONS, detection_page, draw_findings, worst_images
from pellucid.tasks.detect.results import measure
from tests.metrics.scene import CLASSES, DETECTIONS, OBJECTS
from tests.pages import without_script

IMAGE = torch.full((3, 360, 480), 0.5)


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.tasks.detect.results.RESAMPLES", 20)


def test_metrics_equal_pycocotools() -> None:
    scene = draw_set("boxes", 4)
    results = measure(scene.detections, scene.objects, [f"class {k}" for k in range(5)], scene.areas).to_json()
    assert [results[name] for name in FIGURES] == pytest.approx(
        [math.nan if value == -1 else value for value in pycocotools_figures("boxes", scene)], abs=1e-9, nan_ok=True
    )
    assert results["n"] == len(scene.objects)
    assert results["objects"] == sum(int((~truth.crowd).sum()) for truth in scene.objects if truth.crowd is not None)
    low, high = results["ap50_interval"]
    assert low <= results["ap50"] <= high
    assert low < high
    json.dumps(to_json_types(results), allow_nan=False)


def test_metrics_of_boxes_and_masks_have_prefixes() -> None:
    scene = draw_set("masks", 4)
    results = measure(scene.detections, scene.objects, [f"class {k}" for k in range(5)], scene.areas).to_json()
    assert results["mask_ap"] == pytest.approx(pycocotools_figures("masks", scene)[0], abs=1e-9)
    assert {"box_ap", "box_ap50", "mask_ap", "mask_ap50", "box_ap_interval", "n"} <= set(results)
    assert "ap" not in results


def test_key_points_of_persons_are_evaluated() -> None:
    scene = draw_set("keypoints", 4)
    results = measure(scene.detections, scene.objects, [f"class {k}" for k in range(5)], scene.areas).to_json()
    assert results["keypoint_ap"] == pytest.approx(pycocotools_figures("keypoints", scene)[0], abs=1e-9)
    assert {"box_ap", "keypoint_ap50", "n"} <= set(results)


def test_masks_are_not_evaluated_without_masks_of_detections() -> None:
    truth = Objects(torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([0]), torch.ones(1, 8, 8, dtype=torch.bool))
    no_detections = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert measure([no_detections], [truth], ["cell"]).masks is None
    with_masks = replace(no_detections, masks=torch.zeros(0, 8, 8, dtype=torch.bool))
    assert measure([with_masks], [truth], ["cell"]).masks is not None


def test_different_numbers_of_images_are_refused() -> None:
    for pair in (([], []), ([DETECTIONS], [])):
        with pytest.raises(PellucidError, match="at least 1"):
            measure(*pair, CLASSES)


def test_page_has_all_findings_and_metrics() -> None:
    results = measure([DETECTIONS], [OBJECTS], CLASSES)
    page = detection_page(results, ["a<b.png"], lambda k: IMAGE, [DETECTIONS], [OBJECTS], "Detections of scene")
    text = without_script(page.html())
    for finding in findings(DETECTIONS, OBJECTS, CLASSES):
        assert finding.text in text
    assert "a&lt;b.png" in text
    assert set(page.figures) == {"curves", "errors", "confusion", "image-0"}
    assert all(figure is not None for figure in page.figures.values())
    assert set(METRIC_DESCRIPTIONS) == set(FIGURES)


def test_the_page_begins_with_the_costliest_error_and_folds_further_images() -> None:
    results = measure([DETECTIONS] * 6, [OBJECTS] * 6, CLASSES)
    best = max(results.to_json()["errors"].values(), key=lambda one: one["gain"])
    names = [f"{k}.png" for k in range(6)]
    page = detection_page(results, names, lambda k: IMAGE, [DETECTIONS] * 6, [OBJECTS] * 6, "Six")
    (sentence,) = page.header
    assert f"without its {best['errors']:,}, AP50 would be {100 * best['gain']:.1f} points higher" in str(sentence)
    before, _, folded = without_script(page.html()).partition("<details><summary>2 more</summary>")
    assert "3.png" in before
    assert "4.png" not in before
    assert "5.png" in folded


def test_page_without_errors_states_it() -> None:
    detections = DETECTIONS.take(torch.tensor([0]))
    objects = OBJECTS.take(torch.tensor([0]))
    page = detection_page(
        measure([detections], [objects], CLASSES), ["a.png"], lambda k: IMAGE, [detections], [objects], "Right"
    )
    assert "There are no errors among the detections" in page.html()
    assert not page.header
    assert "image-0" not in page.figures
    no_objects = replace(objects, boxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long), crowd=None)
    no_detections = detections.take(torch.tensor([False]))
    page = detection_page(
        measure([no_detections], [no_objects], CLASSES),
        ["a.png"],
        lambda k: IMAGE,
        [no_detections],
        [no_objects],
        "Nothing",
    )
    assert "There is no object to find." in page.html()


def test_worst_images_have_the_most_errors_first() -> None:
    many_errors = findings(DETECTIONS, OBJECTS, CLASSES)
    few_errors = findings(DETECTIONS.take(torch.tensor([0])), OBJECTS.take(torch.tensor([0, 1])), CLASSES)
    no_errors = findings(DETECTIONS.take(torch.tensor([0])), OBJECTS.take(torch.tensor([0])), CLASSES)
    assert worst_images([no_errors, few_errors, many_errors], 12) == [2, 1]
    assert worst_images([few_errors, many_errors], 1) == [1]


def test_drawn_boxes_have_the_numbers_of_their_sentences() -> None:
    detections, objects = DETECTIONS.take(torch.tensor([3, 0, 5])), OBJECTS.take(torch.tensor([0, 2, 4]))
    (plot,) = draw_findings(IMAGE, findings(detections, objects, CLASSES), detections, objects).axes
    assert [text.get_text() for text in plot.texts] == ["1", "2", "3", "2", "3"]
    corners = [patch.get_xy() for patch in plot.patches if isinstance(patch, Rectangle)]
    boxes = [*detections.boxes[[1, 0, 2]].tolist(), *objects.boxes[1:].tolist()]
    assert corners == [(x0, y0) for x0, y0, _, _ in boxes]


def test_boxes_are_compared_within_their_image() -> None:
    no_objects = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    no_detections = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
    results = measure([no_detections, DETECTIONS], [OBJECTS, no_objects], CLASSES)
    assert results.figures["ap"] == 0.0
    assert results.gains["missed"].errors == 7
