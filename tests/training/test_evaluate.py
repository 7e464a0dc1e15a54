"""Default metrics of masks, and errors of metrics that are raised before the first step."""

import pytest
import torch
from sklearn.metrics import jaccard_score

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.data import Arrays
from pellucid.layers import Conv2d, Dense, Flatten
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.metrics import MeanIoU
from pellucid.model import Model
from pellucid.training.callbacks import Callback
from pellucid.training.reading import sample_indices


def mask_data(n=8):
    rng = torch.Generator().manual_seed(0)
    return torch.rand(n, 3, 8, 8, generator=rng), torch.randint(0, 3, (n, 8, 8), generator=rng)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "focal", "dice"])
def test_the_default_metric_of_masks_is_the_mean_iou(loss):
    (x, y), model = mask_data(), Model(Sequential(scores=Conv2d(3, 1)), loss, classes=3)
    history = model.fit(x, y, epochs=1, batch_size=4, verbose=False)
    actual = model.predict(x).argmax(1)
    expected = jaccard_score(y.flatten(), actual.flatten(), average="macro")
    assert history.last["train_miou"] == pytest.approx(expected)


def test_the_default_mean_iou_omits_the_class_that_the_loss_ignores():
    (x, y), model = mask_data(), Model(Sequential(scores=Conv2d(3, 1)), SoftmaxCrossEntropy(ignore=255), classes=3)
    y[:5] = 255  # five complete masks, including the first batch of the validation data
    y[5:, :3] = 255
    model.fit(x, y, epochs=1, batch_size=2, validation=(x, y), verbose=False)
    assert model.metrics == (MeanIoU(255),)
    results = model.evaluate(x, y, batch_size=2)
    is_scored = y != 255
    expected = jaccard_score(y[is_scored], model.predict(x).argmax(1)[is_scored], average="macro")
    assert results["miou"] == pytest.approx(expected)


class StepCounter(Callback):
    def __init__(self):
        self.count = 0

    def on_step(self, training):
        self.count += 1


METRIC_ERRORS = {
    "masks for a metric of classes": ("accuracy", "auto", mask_data, 'metrics="miou"'),
    "classes for a metric of masks": (
        "miou",
        "auto",
        lambda: (mask_data()[0], torch.arange(8) % 3),
        "masks of integer",
    ),
    "several classes for one of classes": (
        "precision",
        "auto",
        lambda: (mask_data()[0], (torch.arange(24).view(8, 3) % 4 < 2).float()),
        "multi-label",
    ),
    "no such column": ("accuracy", "val_acc", lambda: (mask_data()[0], torch.arange(8) % 3), "no column 'val_acc'"),
}


@pytest.mark.parametrize("case", METRIC_ERRORS)
def test_errors_of_metrics_are_raised_before_the_first_step(case, tmp_path):
    metrics, monitor, data, message = METRIC_ERRORS[case]
    x, y = data()
    scores = {"scores": Conv2d(3, 1)} if y.dim() == 3 else {"flat": Flatten(), "scores": Dense(3)}
    loss = "binary_cross_entropy" if y.is_floating_point() else "softmax_cross_entropy"
    steps, model = StepCounter(), Model(Sequential(**scores), loss, metrics=metrics, classes=3)
    with pytest.raises(PellucidError, match=message):
        model.fit(
            x, y, epochs=1, batch_size=4, validation=(x, y), run=tmp_path, monitor=monitor, callbacks=[steps],
            verbose=False,
        )  # fmt: skip
    assert steps.count == 0


@pytest.mark.parametrize(("side", "n_train", "n_validation", "expected"), [
    (28, 60, 20, 60),
    (28, 6_000, 20, 600),
    (224, 60, 20, 20),
    (224, 20, 60, 20),
    (224, 60, 5, 5),
    (224, 60, 2, 4),
    (224, 60, 0, 60),
])  # fmt: skip
def test_of_large_images_no_more_are_measured_in_training_than_in_validation(side, n_train, n_validation, expected):
    pixel = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)

    def images(count):
        return Arrays(pixel.expand(count, 3, side, side), torch.zeros(count, dtype=torch.int64))

    indices = sample_indices(images(n_train), images(n_validation) if n_validation else None, seed=1)
    assert len(indices) == len(set(indices)) == expected
    assert indices == sorted(indices)
