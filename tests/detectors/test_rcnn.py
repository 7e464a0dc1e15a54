"""R-CNN: warped proposals, examples of its classifiers, and detection of rectangles."""

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC

from pellucid.base.errors import PellucidError
from pellucid.detectors.rcnn import RCNN, warp
from pellucid.layers import AvgPool2d
from pellucid.ops.boxes import box_iou
from pellucid.ops.image_objects import Objects
from tests.detectors.drawn import Rectangles


def random_proposals(objects, rng):
    """Return proposals (m, 4): slightly moved and scaled boxes of the objects, and random boxes."""
    near_boxes = objects.boxes.repeat_interleave(12, 0)
    near_boxes = near_boxes + 3 * torch.randn(near_boxes.shape, generator=rng)
    low = torch.rand(40, 2, generator=rng) * torch.tensor([50.0, 34.0])
    random_boxes = torch.cat([low, low + 8 + 10 * torch.rand(40, 2, generator=rng)], 1)
    boxes = torch.cat([near_boxes, random_boxes])
    return boxes[((boxes[:, 2:] - boxes[:, :2]) > 4).all(1)]


def rcnn_examples(numbers):
    rng = torch.Generator().manual_seed(7)
    images, targets = zip(*(Rectangles().example(k) for k in numbers), strict=True)
    return [image.float() / 255 for image in images], targets, [random_proposals(target, rng) for target in targets]


def test_a_warped_box_has_its_pixels_in_the_middle_and_context_around():
    image = torch.zeros(1, 64, 64)
    image[:, 16:32, 16:48] = 1.0
    warped = warp(image, torch.tensor([[16.0, 16.0, 48.0, 32.0]]), 64)[0, 0]
    assert warped.shape == (64, 64)
    assert warped[17:47, 17:47].eq(1).all()  # the box is 32 pixels wide, less the interpolated edges
    assert warped[:15].eq(0).all()
    assert warped[:, 49:].eq(0).all()
    corner = warp(image + torch.rand(1, 64, 64), torch.tensor([[0.0, 0.0, 8.0, 8.0]]), 64)[0, 0]
    assert corner[:8, :8].std() < 1e-6  # outside of the image, its mean is used


@pytest.fixture(scope="module")
def fitted_rcnn():
    return RCNN(AvgPool2d(2), {}, 2, side=48).fit(*rcnn_examples(range(16)))


def recall_and_mean_iou(detector, move):
    """Return the share of objects in new images that are found at an IoU of 0.5, and the mean of their best IoUs."""
    n_detected, overlaps = 0, []
    images, targets, proposals = rcnn_examples(range(16, 24))
    for image, objects, boxes in zip(images, targets, proposals, strict=True):
        detections = detector.predict(image, boxes, threshold=-1.0, move=move)
        for box, label in zip(objects.boxes, objects.labels, strict=True):
            iou = box_iou(box[None], detections.boxes[detections.labels == label])
            best_iou = float(iou.max()) if iou.numel() else 0.0
            n_detected, overlaps = n_detected + (best_iou >= 0.5), [*overlaps, best_iou]
    return n_detected / len(overlaps), sum(overlaps) / len(overlaps)


@pytest.mark.slow
def test_rectangles_are_found_and_regression_improves_their_boxes(fitted_rcnn):
    recall_before, iou_before = recall_and_mean_iou(fitted_rcnn, move=False)
    _, iou_after = recall_and_mean_iou(fitted_rcnn, move=True)
    assert recall_before >= 0.8
    assert iou_after > iou_before


def test_scores_are_sorted_and_empty_images_have_no_detection(fitted_rcnn):
    images, _, proposals = rcnn_examples([16])
    predictions = fitted_rcnn.predict(images[0], proposals[0], threshold=-5.0)
    assert predictions.scores.tolist() == sorted(predictions.scores.tolist(), reverse=True)
    assert len(fitted_rcnn.predict(images[0], proposals[0][:0])) == 0


def test_a_box_outside_of_the_image_is_removed(fitted_rcnn):
    images, _, proposals = rcnn_examples([16])
    height, width = images[0].shape[1:]
    outside = proposals[0] + torch.tensor([float(2 * width), 0, 2 * width, 0])
    x = fitted_rcnn.features(images[0], proposals[0])
    assert len(fitted_rcnn.decide(x, proposals[0], (height, width), threshold=-5.0, move=False)) > 0
    assert len(fitted_rcnn.decide(x, outside, (height, width), threshold=-5.0, move=False)) == 0


def record_svm_examples(monkeypatch, record):
    def fit(positives, negatives):
        record(positives, negatives)
        labels = [1] * len(positives) + [0] * len(negatives)
        return LinearSVC().fit(np.concatenate([positives, negatives]), labels)

    monkeypatch.setattr("pellucid.detectors.rcnn._fit_linear_svm", fit)


def test_regions_in_a_crowd_are_no_negative_examples(monkeypatch):
    negative_counts = []
    record_svm_examples(monkeypatch, lambda positives, negatives: negative_counts.append(len(negatives)))
    boxes = torch.tensor([[2.0, 2, 12, 12], [20, 20, 60, 40]])
    truth = Objects(boxes, torch.tensor([0, 0]), crowd=torch.tensor([False, True]))
    proposals = torch.tensor([[22.0, 22, 32, 32], [40, 24, 58, 38], [40, 2, 50, 12]])
    image = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(0))
    RCNN(AvgPool2d(2), {}, 1, side=16).fit([image], [truth], [proposals])
    assert negative_counts[0] == 1


def test_boxes_near_an_object_are_positive_and_those_between_are_left_out(monkeypatch):
    example_counts = []
    record_svm_examples(
        monkeypatch, lambda positives, negatives: example_counts.append((len(positives), len(negatives)))
    )
    object_ = Objects(torch.tensor([[0.0, 0.0, 20.0, 20.0]]), torch.tensor([0]))
    heights = torch.tensor([14.5, 13.5, 7.0, 5.0, 4.0])  # divided by 20: the IoU of each box with the object
    boxes = torch.stack([torch.zeros(5), torch.zeros(5), torch.full((5,), 20.0), heights], 1)
    RCNN(AvgPool2d(2), {}, 1, side=48).fit([torch.rand(3, 40, 40)], [object_], [boxes])
    assert example_counts[0] == (2, 1)  # positive: the object and the first box; negative: half of the last two


def test_predict_before_fit_and_fit_without_objects_are_refused():
    no_objects = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    detector = RCNN(AvgPool2d(2), {}, 2)
    with pytest.raises(PellucidError, match="not fitted"):
        detector.predict(torch.rand(3, 20, 20), torch.zeros(0, 4))
    with pytest.raises(PellucidError, match="no object to learn from"):
        detector.fit([torch.rand(3, 20, 20)], [no_objects], [torch.zeros(0, 4)])
