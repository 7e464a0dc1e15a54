"""Evaluation of a detector by one forward pass: losses as in a training step, detections as from `predict`."""

import pytest
import torch

from pellucid.data import Batch
from pellucid.layers import Mode
from tests.detectors.drawn import small_single_stage, small_ssd, small_yolo1, small_yolo3
from tests.detectors.test_fast import small_fast
from tests.detectors.test_keypoint import small_points, with_corner_points
from tests.detectors.test_mask import small_mask, with_oval_masks
from tests.detectors.two_stages import random_batch, random_params, small_faster
from tests.oracle import assert_close

FAMILIES = {
    "single_stage": (small_single_stage, lambda batch: batch),
    "ssd": (small_ssd, lambda batch: batch),
    "yolo1": (small_yolo1, lambda batch: batch),
    "yolo3": (small_yolo3, lambda batch: batch),
    "fast": (small_fast, lambda batch: batch),
    "faster": (small_faster, lambda batch: batch),
    "mask": (small_mask, with_oval_masks),
    "keypoint": (small_points, with_corner_points),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_evaluation_has_the_losses_of_a_step_and_the_detections_of_predict(family):
    make, add_targets = FAMILIES[family]
    detector = make()
    params = random_params(detector)
    evaluate = detector.evaluator(params, 8)
    buffer = random_batch().images.clone()
    for flip in (False, True):  # the second batch is in the same memory as the first
        batch = add_targets(random_batch())
        buffer.copy_(batch.images.flip(0) if flip else batch.images)
        batch = Batch(buffer, batch.targets[::-1] if flip else batch.targets)
        outputs, _, losses = evaluate(batch)
        rng = torch.Generator().manual_seed(0)
        expected, dparams = detector.gradients(params, batch, Mode(rng=rng))
        if not flip:  # for the second batch, the evaluator's draws continue
            assert_close(losses, expected, 1e-9, "losses")
        assert dparams
        for output, prediction in zip(outputs, detector.predict(params, batch.images), strict=True):
            assert torch.equal(output.labels, prediction.labels)
            assert torch.allclose(output.boxes, prediction.boxes, atol=1e-9)
