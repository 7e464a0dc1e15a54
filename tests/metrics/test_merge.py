"""Metrics of parts of the data, merged in order, have the state of one metric that saw all batches: bit for bit."""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.data import Batch
from pellucid.image_objects import Detections, Objects
from pellucid.metrics import METRICS, OF_MASKS, Metric, fresh
from pellucid.metrics.base import mergeable

BATCHES = 5


def classes(rng: torch.Generator) -> Batch:
    return Batch(torch.rand(7, 6, generator=rng).softmax(1), torch.randint(0, 6, (7,), generator=rng))


def numbers(rng: torch.Generator) -> Batch:
    return Batch(torch.randn(7, 3, generator=rng), torch.randn(7, 3, generator=rng) + 100)


def masks(rng: torch.Generator) -> Batch:
    return Batch(torch.rand(3, 4, 20, 24, generator=rng), torch.randint(0, 4, (3, 20, 24), generator=rng))


def pictures(rng: torch.Generator) -> Batch:
    return Batch(torch.rand(3, 3, 16, 18, generator=rng), torch.rand(3, 3, 16, 18, generator=rng))


def colours(rng: torch.Generator) -> Batch:
    return Batch(torch.randn(3, 2, 16, 18, generator=rng) * 30, torch.rand(3, 3, 16, 18, generator=rng))


def objects(rng: torch.Generator) -> Batch:
    """Some objects of an image, found inexactly; each with a mask and the 17 key-points of a person."""
    result, truth = list[Detections](), list[Objects]()
    for n in torch.randint(0, 5, (3,), generator=rng).tolist():
        corner = torch.randint(0, 20, (n, 2), generator=rng).float()
        boxes = torch.cat([corner, corner + 5 + 10 * torch.rand(n, 2, generator=rng)], 1)
        points = torch.cat([torch.rand(n, 17, 2, generator=rng) * 30, torch.full((n, 17, 1), 2.0)], 2)
        mask = torch.rand(n, 40, 40, generator=rng) > 0.3
        labels = torch.randint(0, 3, (n,), generator=rng)
        truth.append(Objects(boxes, labels, masks=mask, keypoints=points))
        moved = boxes + torch.randn(n, 4, generator=rng)
        scores = torch.rand(n, generator=rng)
        result.append(Detections(moved, scores, labels, masks=mask.roll(1, 2), keypoints=points + 1))
    return Batch(result, truth)  # type: ignore[arg-type]


DATA = {
    **dict.fromkeys(("accuracy", "top5", "precision", "recall", "macro_f1", "confusion", "ece"), classes),
    **dict.fromkeys(("mae", "rmse", "r2"), numbers),
    **dict.fromkeys(OF_MASKS, masks),
    **dict.fromkeys(("ap", "mask_ap", "keypoint_ap", "nme"), objects),
    **dict.fromkeys(("psnr", "ssim"), pictures),
    **dict.fromkeys(("colours", "delta_e"), colours),
}


def merged(metric: Metric, parts: list[list[Batch]]) -> dict[str, Any]:
    total = fresh(metric)
    for part in parts:
        one = fresh(metric)
        for outputs, targets in part:
            one.update(outputs, targets)
        total.merge(one)
    return total.compute()


@pytest.mark.parametrize("name", METRICS)
def test_batches_merged_one_by_one_have_the_bits_of_one_metric(name: str) -> None:
    rng = torch.Generator().manual_seed(3)
    batches, metric = [DATA[name](rng) for _ in range(BATCHES)], METRICS[name]()
    assert mergeable(metric)
    whole = fresh(metric)
    for outputs, targets in batches:
        whole.update(outputs, targets)
    assert merged(metric, [[batch] for batch in batches]) == whole.compute()
    in_parts = merged(metric, [batches[:3], [], batches[3:]])  # floats are added in another order
    for key, expected in whole.compute().items():
        assert in_parts[key] == (expected if isinstance(expected, list) else pytest.approx(expected, rel=1e-12)), key


def test_functions_get_all_outputs_in_order() -> None:
    def largest(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs[:, 0] - torch.arange(len(outputs))).abs().max()

    parts = [
        [Batch(torch.arange(3.0)[:, None], torch.zeros(3))],
        [Batch(torch.arange(3.0, 5.0)[:, None], torch.zeros(2))],
    ]
    assert merged(fresh(largest), parts) == {"largest": 0.0}


@dataclass
class Widest(Metric):
    """The widest output: the state is no sum."""

    widest: float = field(default=0.0, init=False)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.widest = max(self.widest, float(outputs.max()))

    def compute(self) -> dict[str, Any]:
        return {"widest": self.widest}


def test_a_metric_without_merge_is_not_mergeable() -> None:
    assert not mergeable(Widest())
    assert mergeable(lambda outputs, targets: 0.0)


def test_a_merge_leaves_the_other_metric_as_it_was() -> None:
    metric, (outputs, targets) = METRICS["confusion"](), classes(torch.Generator().manual_seed(1))
    metric.update(outputs, targets)
    before, total = deepcopy(metric), METRICS["confusion"]()
    total.merge(metric)
    total.merge(metric)
    assert metric.compute() == before.compute()
    assert total.compute()["confusion"] == (2 * torch.tensor(before.compute()["confusion"])).tolist()
