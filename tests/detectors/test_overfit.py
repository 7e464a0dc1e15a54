"""Every detector overfits four images: its average precision on them, at an IoU of 0.5, is 1.

Detectors with two learned stages are tested in the files of their families.
"""

import pytest
import torch

from pellucid.detectors import rcnn
from pellucid.layers import AvgPool2d
from pellucid.metrics import AveragePrecision
from pellucid.model import Model
from pellucid.optim import AdamW
from tests.detectors.drawn import Rectangles, small_single_stage, small_ssd, small_yolo1, small_yolo3
from tests.detectors.test_fast import small_fast
from tests.detectors.test_rcnn import rcnn_examples

FAMILIES = {
    "single-stage": (small_single_stage, 100, 3e-3),
    "ssd": (small_ssd, 60, 6e-3),
    "yolo3": (small_yolo3, 80, 6e-3),
    "yolo1": (small_yolo1, 100, 6e-3),
    "fast": (lambda channels: small_fast(None, channels, 64, stride=4, regions=64), 120, 3e-3),
}


class RepeatedRectangles(Rectangles):
    """The same four images, repeated so that an epoch has many steps."""

    def example(self, k):
        return super().example(k % 4)


def average_precision_50(result, targets):
    """Return the average precision at an IoU of 0.5."""
    metric = AveragePrecision()
    metric.update(result, list(targets))
    return metric.compute()["ap50"]


@pytest.mark.real
@pytest.mark.parametrize("family", FAMILIES)
def test_every_detector_overfits_four_images(family):
    make_detector, steps, lr = FAMILIES[family]
    model, batch = (
        Model(make_detector(16), optimizer=AdamW(lr), seed=1, metrics=()),
        Rectangles(4).batch(range(4), None),
    )
    model.fit(RepeatedRectangles(4 * steps), epochs=1, batch_size=4, verbose=False)
    assert average_precision_50(model.predict(batch.images), batch.targets) == 1.0


@pytest.mark.real
def test_linear_classifiers_of_features_overfit_four_images(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rcnn, "RIDGE_ALPHA", 10.0)  # the default is too strong for four images
    images, targets, proposals = rcnn_examples(range(4))
    detector = rcnn.RCNN(AvgPool2d(2), {}, 2, side=48).fit(images, targets, proposals)
    result = [detector.predict(image, boxes, -torch.inf) for image, boxes in zip(images, proposals, strict=True)]
    assert average_precision_50(result, targets) == 1.0
