"""Objects and Detections: checks, selection and concatenation."""

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.ops.image_objects import Detections, Objects, concatenate


def two_objects(**parts: torch.Tensor | None) -> Objects:
    values = {"boxes": torch.tensor([[0.0, 1.0, 2.0, 4.0], [3.0, 3.0, 3.0, 5.0]]), "labels": torch.tensor([7, 8])}
    return Objects(**(values | parts))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"boxes": torch.zeros(2, 5)}, r"boxes have shape \(2, 5\); give \(n, 4\)"),
        ({"boxes": torch.zeros(2, 4, dtype=torch.int64)}, "boxes are int64; give floats"),
        ({"boxes": torch.tensor([[0.0, 0, 1, 1], [5, 0, 2.5, 9]])}, r"box 1 is \(5, 0, 2.5, 9\); give x0, y0, x1, y1"),
        ({"labels": torch.tensor([1])}, r"labels have shape \(1,\); give \(2,\)"),
        ({"labels": torch.tensor([1.0, 2.0])}, "labels are float32; give integers"),
        ({"masks": torch.zeros(3, 4, 4, dtype=torch.bool)}, r"masks have shape \(3, 4, 4\); give \(2, H, W\)"),
        ({"masks": torch.zeros(2, 4, 4)}, "masks are float32; give bool"),
        ({"crowd": torch.zeros(2)}, "crowd are float32; give bool"),
        ({"keypoints": torch.zeros(2, 5, 2)}, r"keypoints have shape \(2, 5, 2\); give \(2, K, 3\)"),
    ],
)
def test_objects_that_do_not_fit_are_refused_in_one_line(parts, message):
    with pytest.raises(PellucidError, match=message) as info:
        two_objects(**parts)
    assert "\n" not in str(info.value)


def test_selected_objects_keep_their_masks_and_key_points():
    masks, points = torch.zeros(2, 6, 6, dtype=torch.bool), torch.arange(12.0).reshape(2, 2, 3)
    masks[1, 3:5, 3] = True
    selected = two_objects(masks=masks, keypoints=points).take(torch.tensor([False, True]))
    assert selected.boxes.tolist() == [[3, 3, 3, 5]]
    assert selected.labels.tolist() == [8]
    assert selected.masks is not None
    assert selected.masks.nonzero().tolist() == [[0, 3, 3], [0, 4, 3]]
    assert selected.keypoints is not None
    assert selected.keypoints.tolist() == [[[6, 7, 8], [9, 10, 11]]]


def test_images_without_objects_can_be_concatenated():
    empty = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    concatenated = concatenate([empty, two_objects(keypoints=torch.ones(2, 3, 3)), empty])
    assert concatenated.labels.tolist() == [7, 8]
    assert concatenated.keypoints is not None
    assert len(concatenate([empty, empty])) == 0


def test_crowds_are_concatenated_with_their_objects():
    concatenated = concatenate([two_objects(), two_objects(crowd=torch.tensor([True, False]))])
    assert concatenated.crowd is not None
    assert concatenated.crowd.tolist() == [False, False, True, False]
    assert concatenated.take(torch.tensor([2])).crowd == torch.tensor([True])
    assert concatenate([two_objects(), two_objects()]).crowd is None


def test_selected_detections_keep_their_scores():
    boxes, labels = torch.tensor([[0.0, 1.0, 2.0, 4.0], [3.0, 3.0, 3.0, 5.0]]), torch.tensor([7, 8])
    detections = Detections(boxes, torch.tensor([0.9, 0.2]), labels, keypoints=torch.ones(2, 3, 3))
    last = detections.take(torch.tensor([1]))
    assert (last.scores.item(), last.labels.item()) == (pytest.approx(0.2), 8)
    assert last.keypoints is not None
    with pytest.raises(PellucidError, match=r"scores have shape \(3,\); give \(2,\), one per box"):
        Detections(boxes, torch.zeros(3), labels)


def test_key_points_of_some_images_only_are_refused():
    with pytest.raises(PellucidError, match=r"keypoints of images to concatenate are \(2, 3, 3\), missing; give"):
        concatenate([two_objects(keypoints=torch.ones(2, 3, 3)), two_objects()])
