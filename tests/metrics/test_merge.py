"""Metrics of parts of the data, merged in order, equal one metric of all batches."""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.data import Batch
from pellucid.metrics import METRICS, OF_MASKS, Metric, fresh
from pellucid.metrics.base import is_mergeable
from pellucid.ops.image_objects import Detections, Objects

N_BATCHES = 5


def class_batch(rng: torch.Generator) -> Batch:
    return Batch(torch.rand(7, 6, generator=rng).softmax(1), torch.randint(0, 6, (7,), generator=rng))


def number_batch(rng: torch.Generator) -> Batch:
    return Batch(torch.randn(7, 3, generator=rng), torch.randn(7, 3, generator=rng) + 100)


def mask_batch(rng: torch.Generator) -> Batch:
    return Batch(torch.rand(3, 4, 20, 24, generator=rng), torch.randint(0, 4, (3, 20, 24), generator=rng))


def image_batch(rng: torch.Generator) -> Batch:
    return Batch(torch.rand(3, 3, 16, 18, generator=rng), torch.rand(3, 3, 16, 18, generator=rng))


def colour_batch(rng: torch.Generator) -> Batch:
    return Batch(torch.randn(3, 2, 16, 18, generator=rng) * 30, torch.rand(3, 3, 16, 18, generator=rng))


def object_batch(rng: torch.Generator) -> Batch:
    """Return objects of three images, each with a mask and 17 key-points, and detections slightly off."""
    detections, objects = list[Detections](), list[Objects]()
    for n in torch.randint(0, 5, (3,), generator=rng).tolist():
        corner = torch.randint(0, 20, (n, 2), generator=rng).float()
        boxes = torch.cat([corner, corner + 5 + 10 * torch.rand(n, 2, generator=rng)], 1)
        points = torch.cat([torch.rand(n, 17, 2, generator=rng) * 30, torch.full((n, 17, 1), 2.0)], 2)
        mask = torch.rand(n, 40, 40, generator=rng) > 0.3
        labels = torch.randint(0, 3, (n,), generator=rng)
        objects.append(Objects(boxes, labels, masks=mask, keypoints=points))
        moved_boxes = boxes + torch.randn(n, 4, generator=rng)
        scores = torch.rand(n, generator=rng)
        detections.append(Detections(moved_boxes, scores, labels, masks=mask.roll(1, 2), keypoints=points + 1))
    return Batch(detections, objects)  # type: ignore[arg-type]


BATCH_MAKERS = {
    **dict.fromkeys(
        ("accuracy", "top5", "precision", "recall", "macro_f1", "confusion", "ece", "multilabel"), class_batch
    ),
    **dict.fromkeys(("mae", "rmse", "r2"), number_batch),
    **dict.fromkeys(OF_MASKS, mask_batch),
    **dict.fromkeys(("ap", "mask_ap", "keypoint_ap", "nme"), object_batch),
    **dict.fromkeys(("psnr", "ssim"), image_batch),
    **dict.fromkeys(("colours", "delta_e"), colour_batch),
}


def compute_merged(metric: Metric, parts: list[list[Batch]]) -> dict[str, Any]:
    total = fresh(metric)
    for part in parts:
        part_metric = fresh(metric)
        for outputs, targets in part:
            part_metric.update(outputs, targets)
        total.merge(part_metric)
    return total.compute()


@pytest.mark.parametrize("name", METRICS)
def test_metrics_merged_batch_by_batch_equal_one_metric_exactly(name: str) -> None:
    rng = torch.Generator().manual_seed(3)
    batches, metric = [BATCH_MAKERS[name](rng) for _ in range(N_BATCHES)], METRICS[name]()
    assert is_mergeable(metric)
    single_metric = fresh(metric)
    for outputs, targets in batches:
        single_metric.update(outputs, targets)
    assert compute_merged(metric, [[batch] for batch in batches]) == single_metric.compute()
    actual = compute_merged(metric, [batches[:3], [], batches[3:]])  # floats are added in another order
    for key, expected in single_metric.compute().items():
        assert actual[key] == (expected if isinstance(expected, list) else pytest.approx(expected, rel=1e-12)), key


def test_functions_get_all_outputs_in_order() -> None:
    def largest(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs[:, 0] - torch.arange(len(outputs))).abs().max()

    parts = [
        [Batch(torch.arange(3.0)[:, None], torch.zeros(3))],
        [Batch(torch.arange(3.0, 5.0)[:, None], torch.zeros(2))],
    ]
    assert compute_merged(fresh(largest), parts) == {"largest": 0.0}


@dataclass
class MaxOutput(Metric):
    """The largest output, a metric whose state is not a sum."""

    largest: float = field(default=0.0, init=False)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.largest = max(self.largest, float(outputs.max()))

    def compute(self) -> dict[str, Any]:
        return {"largest": self.largest}


def test_a_metric_without_merge_is_not_mergeable() -> None:
    assert not is_mergeable(MaxOutput())
    assert is_mergeable(lambda outputs, targets: 0.0)


def test_a_merge_leaves_the_other_metric_unchanged() -> None:
    metric, (outputs, targets) = METRICS["confusion"](), class_batch(torch.Generator().manual_seed(1))
    metric.update(outputs, targets)
    before, total = deepcopy(metric), METRICS["confusion"]()
    total.merge(metric)
    total.merge(metric)
    assert metric.compute() == before.compute()
    assert total.compute()["confusion"] == (2 * torch.tensor(before.compute()["confusion"])).tolist()
