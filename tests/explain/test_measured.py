"""Composites ranked by deletion curves, against curves computed one image at a time."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.explain import lrp, measure_composites
from pellucid.layers import Mode, Softmax
from tests.explain.networks import network_and_batch
from tests.references import reference_forward

TARGET = torch.tensor([2, 0])


def softmax(y: Tensor) -> Tensor:
    return Softmax().forward({}, y, Mode())[0]


def deletion_area(net: object, params: object, x: Tensor, target: int, order: np.ndarray) -> float:
    """Return the area under the deletion curve of one image (C, H, W): 20 steps, trapezoidal rule."""
    counts = [round(part) for part in np.linspace(0, order.size, 21)]
    result = []
    for count in counts:
        image = x.clone().flatten(1)
        image[:, order[:count]] = 0
        y = reference_forward(net, params, image.view(1, *x.shape), Mode())  # pyright: ignore
        result.append(float(torch.softmax(y, 1)[0, target]))
    return float(np.trapezoid(result, np.array(counts) / order.size))


def test_composites_are_ordered_by_the_area_under_their_deletion_curves() -> None:
    net, params, x = network_and_batch("resnet")
    candidates = (("epsilon", {}), ("epsilon_plus", {}), ("cp_lrp", {"gamma": 0.25}))
    actual = measure_composites(net, params, x, TARGET, candidates, read=softmax)
    expected = {}
    for name, options in candidates:
        maps = lrp(net, params, x, TARGET, name, **options).sum(1).flatten(1).numpy()
        orders = [np.argsort(-map_, kind="stable") for map_ in maps]
        areas = [deletion_area(net, params, x[k], int(TARGET[k]), orders[k]) for k in range(2)]
        expected[name] = sum(areas) / 2
    assert [row.name for row in actual.rows] == sorted(expected, key=lambda name: expected[name])
    for row in actual.rows:
        assert row.area == pytest.approx(expected[row.name], rel=1e-7)  # the fractions of deleted pixels are float32
    assert actual.best is actual.rows[0]
    lines = str(actual).splitlines()
    assert len(lines) == 5
    assert sum("random order" in line for line in lines) == 1
    assert any(line.startswith("cp_lrp, gamma=0.25 ") for line in lines)


def test_the_random_area_is_the_mean_over_random_orders() -> None:
    net, params, x = network_and_batch("vgg")
    result = measure_composites(net, params, x, TARGET, (("epsilon", {}),), read=softmax, orders=40)
    rng = np.random.default_rng(1)
    areas = [deletion_area(net, params, x[k], int(TARGET[k]), rng.permutation(36)) for k in (0, 1) for _ in range(60)]
    spread = float(np.std(areas)) / 40**0.5
    assert abs(result.random - float(np.mean(areas))) < 5 * spread
    assert result.n == 2


def test_without_an_applicable_composite_the_reason_is_raised() -> None:
    net, params, x = network_and_batch("vgg")
    with pytest.raises(PellucidError, match="no candidate explains this network: lrp: no composite 'epsilom'"):
        measure_composites(net, params, x, TARGET, (("epsilom", {}),))
