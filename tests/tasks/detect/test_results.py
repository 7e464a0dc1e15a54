"""The results of a detector and their page, on an image whose overlaps are computed by hand."""

import json
import math
from dataclasses import replace

import pytest
import torch
from matplotlib.patches import Rectangle

from conformance.detection import draw, expected
from pellucid.command.out import plain
from pellucid.errors import PellucidError
from pellucid.image_objects import Detections, Objects
from pellucid.metrics.coco import FIGURES
from pellucid.tasks.detect.findings import findings
from pellucid.tasks.detect.page import FIGURES as ABOUT
from pellucid.tasks.detect.page import detection_page, picture, worst
from pellucid.tasks.detect.results import measure
from tests.metrics.scene import CLASSES, DETECTIONS, OBJECTS
from tests.pages import without_script

IMAGE = torch.full((3, 360, 480), 0.5)


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.tasks.detect.results.RESAMPLES", 20)


def test_figures_are_those_of_pycocotools_by_name() -> None:
    drawn = draw("boxes", 4)
    results = measure(drawn.detections, drawn.objects, [f"class {k}" for k in range(5)], drawn.areas)
    told = results.to_json()
    assert [told[name] for name in FIGURES] == pytest.approx(
        [math.nan if value == -1 else value for value in expected("boxes", drawn)], abs=1e-9, nan_ok=True
    )
    assert told["n"] == len(drawn.objects)
    assert told["objects"] == sum(int((~truth.crowd).sum()) for truth in drawn.objects if truth.crowd is not None)
    low, high = told["ap50_interval"]
    assert low <= told["ap50"] <= high
    assert low < high
    json.dumps(plain(told), allow_nan=False)


def test_with_masks_boxes_and_masks_have_names_of_their_own() -> None:
    drawn = draw("masks", 4)
    told = measure(drawn.detections, drawn.objects, [f"class {k}" for k in range(5)], drawn.areas).to_json()
    assert told["mask_ap"] == pytest.approx(expected("masks", drawn)[0], abs=1e-9)
    assert {"box_ap", "box_ap50", "mask_ap", "mask_ap50", "box_ap_interval", "n"} <= set(told)
    assert "ap" not in told


def test_with_key_points_of_persons_they_are_measured_too() -> None:
    drawn = draw("keypoints", 4)
    told = measure(drawn.detections, drawn.objects, [f"class {k}" for k in range(5)], drawn.areas).to_json()
    assert told["keypoint_ap"] == pytest.approx(expected("keypoints", drawn)[0], abs=1e-9)
    assert {"box_ap", "keypoint_ap50", "n"} <= set(told)


def test_a_detector_of_boxes_that_finds_nothing_is_not_measured_on_masks() -> None:
    truth = Objects(torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([0]), torch.ones(1, 8, 8, dtype=torch.bool))
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert measure([nothing], [truth], ["cell"]).masks is None
    with_masks = replace(nothing, masks=torch.zeros(0, 8, 8, dtype=torch.bool))
    assert measure([with_masks], [truth], ["cell"]).masks is not None


def test_other_numbers_of_images_are_refused() -> None:
    for pair in (([], []), ([DETECTIONS], [])):
        with pytest.raises(PellucidError, match="at least 1"):
            measure(*pair, CLASSES)


def test_the_page_has_every_finding_and_metric() -> None:
    results = measure([DETECTIONS], [OBJECTS], CLASSES)
    page = detection_page(results, ["a<b.png"], lambda k: IMAGE, [DETECTIONS], [OBJECTS], "Detections of scene")
    text = without_script(page.html())
    for finding in findings(DETECTIONS, OBJECTS, CLASSES):
        assert finding.text in text
    assert "a&lt;b.png" in text
    assert set(page.figures) == {"curves", "errors", "confusion", "image-0"}
    assert all(figure is not None for figure in page.figures.values())
    assert set(ABOUT) == set(FIGURES)


def test_without_errors_the_page_says_so() -> None:
    right = DETECTIONS.take(torch.tensor([0]))
    truth = OBJECTS.take(torch.tensor([0]))
    page = detection_page(measure([right], [truth], CLASSES), ["a.png"], lambda k: IMAGE, [right], [truth], "Right")
    assert "There are no errors among the detections" in page.html()
    assert "image-0" not in page.figures
    empty = replace(truth, boxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long), crowd=None)
    nothing = right.take(torch.tensor([False]))
    page = detection_page(
        measure([nothing], [empty], CLASSES), ["a.png"], lambda k: IMAGE, [nothing], [empty], "Nothing"
    )
    assert "There is no object to find." in page.html()


def test_images_with_the_most_errors_come_first() -> None:
    full = findings(DETECTIONS, OBJECTS, CLASSES)
    few = findings(DETECTIONS.take(torch.tensor([0])), OBJECTS.take(torch.tensor([0, 1])), CLASSES)
    right = findings(DETECTIONS.take(torch.tensor([0])), OBJECTS.take(torch.tensor([0])), CLASSES)
    assert worst([right, few, full], 12) == [2, 1]
    assert worst([few, full], 1) == [1]


def test_boxes_carry_the_numbers_of_the_sentences() -> None:
    result, truth = DETECTIONS.take(torch.tensor([3, 0, 5])), OBJECTS.take(torch.tensor([0, 2, 4]))
    (plot,) = picture(IMAGE, findings(result, truth, CLASSES), result, truth).axes
    assert [text.get_text() for text in plot.texts] == ["1", "2", "3", "2", "3"]
    corners = [patch.get_xy() for patch in plot.patches if isinstance(patch, Rectangle)]
    boxes = [*result.boxes[[1, 0, 2]].tolist(), *truth.boxes[1:].tolist()]
    assert corners == [(x0, y0) for x0, y0, _, _ in boxes]


def test_boxes_as_arrays_of_other_images_are_compared_by_image() -> None:
    empty = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    none = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
    results = measure([none, DETECTIONS], [OBJECTS, empty], CLASSES)
    assert results.figures["ap"] == 0.0
    assert results.gains["missed"].errors == 7
