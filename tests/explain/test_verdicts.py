"""Verdicts of the checks of an explanation, against counts and the binomial distribution."""

import random
from math import isnan
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid import Conv2d, Dense, Flatten, Model, ReLU, Sequential
from pellucid.explain import explain, scorecam
from pellucid.explain.checks import randomize_weights
from pellucid.explain.examine import examine, write_examination
from pellucid.explain.infidelity import sensitivity
from pellucid.explain.occlusion import grey
from pellucid.explain.verdicts import (
    ORDERS,
    SUM_LOST,
    ZERO,
    curve_verdict,
    map_caveat,
    sum_verdict,
    weights_verdict,
)

RANDOM_AREAS = [0.30 + k / 100 for k in range(ORDERS)]


@pytest.mark.parametrize(
    ("area", "passed", "text", "p"),
    [
        (0.1, True, "better than random order on this image", 1 / 20),
        (0.305, False, "no better than random order on this image", 2 / 20),
        (0.30, False, "no better than random order on this image", 2 / 20),  # a tie is not better
        (0.9, False, "worse than random order on this image", 1.0),
    ],
)
def test_a_curve_passes_only_if_better_than_all_random_ones(area: float, passed: bool, text: str, p: float) -> None:
    low = curve_verdict(area, RANDOM_AREAS, low_is_good=True)
    high = curve_verdict(-area, [-random_area for random_area in RANDOM_AREAS], low_is_good=False)
    for result in (low, high):
        assert (result.passed, result.text) == (passed, text)
        assert result.p == pytest.approx(p)


def test_one_random_order_in_twenty_is_called_better() -> None:
    rng = random.Random(0)
    draws = 4000
    better = sum(
        bool(curve_verdict(rng.random(), [rng.random() for _ in range(ORDERS)], low_is_good=True).passed)
        for _ in range(draws)
    )
    assert better == pytest.approx(draws / 20, abs=4 * (draws * 0.05 * 0.95) ** 0.5)  # four standard deviations


def test_equal_orders_have_no_verdict() -> None:
    result = curve_verdict(0.5, [0.5] * ORDERS, low_is_good=True)
    assert (result.passed, result.text) == (None, "all orders have the same result")


def test_sums_within_five_percent_are_accepted() -> None:
    assert sum_verdict(1.05, 1.0, 0.05).passed
    result = sum_verdict(1.2, 1.0, 0.2)
    assert (result.passed, result.text) == (False, "does not add up: 1.2, not 1")


def test_a_map_unchanged_by_shuffled_weights_shows_the_image_only() -> None:
    assert weights_verdict({"top": 0.9, "bottom": 0.2}).passed
    assert weights_verdict({"top": 0.1, "bottom": 0.72}).passed is False  # 0.72 squared exceeds 0.5
    assert weights_verdict({"bottom": 0.70}).passed
    assert weights_verdict({}).passed is None
    assert weights_verdict({"bottom": None}).passed is None


@pytest.mark.parametrize(
    ("values", "expected_sum", "mark"),
    [
        ([0.5, 0.5], 1.0, ""),
        ([0.5, 0.46], 1.0, ""),  # 4 % are missing
        ([0.5, 0.44], 1.0, SUM_LOST),
        ([3.0, -2.995], 0.714, SUM_LOST),
        ([-0.5, -0.44], -1.0, SUM_LOST),
        ([0.1, 0.0], 0.0, SUM_LOST),
        ([0.5, 0.44], None, ""),  # the method guarantees no sum
        ([0.0, 0.0], None, ZERO),
        ([0.0, 0.0], 1.0, ZERO),
    ],
)
def test_maps_that_are_no_evidence_are_marked(values: list[float], expected_sum: float | None, mark: str) -> None:
    assert map_caveat(torch.tensor(values), expected_sum) == mark


def test_an_explanation_marks_its_maps_wherever_they_are_named(tmp_path: Path) -> None:
    """A ReLU whose sums are all negative: no map of a gradient differs from 0."""
    net = Sequential(flatten=Flatten(), dense1=Dense(4), relu=ReLU(), dense2=Dense(2))
    model = Model(net, input_shape=(1, 4, 4), classes=2)
    for name, value in (("dense1.weight", 0.0), ("dense1.bias", -1.0)):
        model.weights[name].fill_(value)
    x = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    examination = examine(model, x, ["saliency"], 0)
    (result,) = examination.results
    assert result.label == f"saliency ({ZERO})"
    assert result.verdicts["map"].passed is False
    files = write_examination(tmp_path, model, x, examination, ("a", "b"))
    assert f"saliency ({ZERO})" in files[-1].read_text(encoding="utf-8")


@pytest.mark.parametrize(("channels", "maps"), [(100, None), (300, 128)])
def test_an_examination_by_score_cam_uses_at_most_128_maps(channels: int, maps: int | None) -> None:
    net = Sequential(conv=Conv2d(channels, 3), relu=ReLU(), flat=Flatten(), head=Dense(2))
    model = Model(net, input_shape=(1, 8, 8), classes=2)
    x = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    (result,) = examine(model, x, ["scorecam"], 0).results
    assert torch.equal(result.map, scorecam(model.net, model.params, x[None], 0, maps=maps)[0])


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "lrp", "occlusion", "gradcam"])
def test_an_examination_explains_the_unchanged_network_and_image_once(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other maps are of shuffled weights and of changed images, as the tests of a map alone compute them."""
    net = Sequential(conv=Conv2d(4, 3), relu=ReLU(), flat=Flatten(), head=Dense(2))
    model = Model(net, input_shape=(1, 8, 8), classes=2)
    x = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    unchanged = []

    def counted(net: Any, params: Any, x: Any, *args: Any, **options: Any) -> Any:
        unchanged.append(params is model.params and torch.equal(x, batch))
        return explain(net, params, x, *args, **options)

    batch = x[None]
    monkeypatch.setattr("pellucid.explain.examine.explain", counted)
    (result,) = examine(model, x, [method], 0).results
    assert sum(unchanged) == 1
    assert len(unchanged) == 1 + 2 + 4  # two layers with weights, four draws

    def explained(params: Any, x: Any) -> Any:
        options = {"fill": grey(model)} if method == "occlusion" else {}
        return explain(net, params, x, method, 0, **options)

    likeness = {
        one.path: float(one.correlation) for one in randomize_weights(net, model.params, lambda p: explained(p, batch))
    }
    assert result.randomization_correlations == pytest.approx(
        {path: None if isnan(value) else value for path, value in likeness.items()}
    )
    assert result.sensitivity == pytest.approx(float(sensitivity(lambda x: explained(model.params, x), batch)))
