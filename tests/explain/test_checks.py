"""Checks of explanations against known sums, SciPy's ranks and networks made by hand."""

import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata, spearmanr
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.explain import integrated_gradients, lrp, occlusion, saliency
from pellucid.explain.checks import (
    SumCheck,
    cascading_randomization,
    completeness,
    conservation,
    deletion,
    distance,
    gaussian_blur,
    insertion,
    object_agreement,
    randomize_weights,
    rank_correlation,
    ranks,
)
from pellucid.layers import AdaptiveAvgPool2d, Conv2d, Dense, Flatten, ReLU
from pellucid.nested import flatten
from tests.explain.networks import network_and_batch
from tests.oracle import assert_close, normal, randomized

NET = Sequential(flat=Flatten(), scores=Dense(2, bias=False))
WEIGHT = torch.tensor([[4.0, 3.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
PARAMS = {"flat": {}, "scores": {"weight": WEIGHT}}
X = torch.ones(1, 1, 2, 2)
WEIGHT_MAP = WEIGHT[:1].view(1, 1, 2, 2)


def test_deletion_lowers_a_linear_score_by_the_weights_in_order() -> None:
    curve = deletion(NET, PARAMS, X, 0, WEIGHT_MAP, steps=4)
    assert curve.fractions.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curve.scores.tolist() == [[10, 6, 3, 1, 0]]
    assert float(curve.area) == (5 + 6 + 3 + 1 + 0) / 4
    assert deletion(NET, PARAMS, X, 0, -WEIGHT_MAP, steps=4).scores.tolist() == [[10, 9, 7, 4, 0]]


def test_insertion_raises_a_linear_score_by_the_weights_in_order() -> None:
    curve = insertion(NET, PARAMS, X, 0, WEIGHT_MAP, start=torch.zeros(1, 1, 1, 1), steps=2)
    assert curve.scores.tolist() == [[0, 7, 10]]


def test_the_fractions_of_a_curve_are_exact_in_float64() -> None:
    x = torch.ones(1, 1, 1, 3, dtype=torch.float64)
    params = {"flat": {}, "scores": {"weight": torch.ones(2, 3, dtype=torch.float64)}}
    assert deletion(NET, params, x, 0, x, steps=3).fractions.tolist() == [0, 1 / 3, 2 / 3, 1]


def test_curves_of_probabilities_are_computed_from_the_outputs() -> None:
    curve = deletion(NET, PARAMS, X, 0, WEIGHT_MAP, steps=1, read=lambda y: y.softmax(1))
    assert_close(curve.scores, torch.tensor([[10.0, 0.0]]).sigmoid(), 1e-6)


def test_gaussian_blur_equals_scipys() -> None:
    x = normal((2, 3, 9, 7), torch.Generator().manual_seed(0))
    expected = gaussian_filter(x.numpy(), (0, 0, 0.8, 0.8), mode="nearest", radius=(0, 0, 2, 2))
    assert_close(gaussian_blur(x, 0.8), torch.from_numpy(expected), 1e-12)


def test_a_map_of_another_size_is_reported() -> None:
    with pytest.raises(PellucidError, match="does not rank the pixels"):
        deletion(NET, PARAMS, X, 0, torch.ones(1, 1, 3, 3))


def test_the_agreement_with_an_object_equals_fractions_by_hand() -> None:
    map_ = torch.tensor([[[[1.0, -5.0], [2.0, 1.0]]], [[[1.0, 0.0], [0.0, 3.0]]]])
    mask = torch.tensor([[[True, True], [False, False]], [[False, False], [False, True]]])
    result = object_agreement(map_, mask)
    assert result.inside.tolist() == [0.25, 0.75]
    assert result.area.tolist() == [0.5, 0.25]
    assert result.hit.tolist() == [False, True]


def test_a_map_without_positive_values_has_score_0_inside_a_mask() -> None:
    assert object_agreement(-torch.ones(1, 1, 2, 2), torch.ones(1, 2, 2)).inside.tolist() == [0]


def test_the_map_of_a_bar_detector_lies_on_the_bar() -> None:
    net = Sequential(conv=Conv2d(1, 3, padding=1), relu=ReLU(), mean=AdaptiveAvgPool2d(1), flat=Flatten(), out=Dense(1))
    params = net.init((1, 12, 12), torch.Generator().manual_seed(0))[0]
    params["conv"] = {"weight": torch.tensor([[[[-1.0, 2, -1]] * 3]]).view(1, 1, 3, 3), "bias": torch.tensor([-3.0])}
    params["out"] = {"weight": torch.ones(1, 1), "bias": torch.zeros(1)}
    x, mask = torch.zeros(1, 1, 12, 12), torch.zeros(1, 12, 12, dtype=torch.bool)
    x[0, 0, 4:9, 7], mask[0, 4:9, 7] = 1, True
    result = object_agreement(occlusion(net, params, x, 0, square=1, stride=1), mask)
    assert result.inside.item() == 1
    assert result.hit.all()


def test_a_mask_of_another_size_is_reported() -> None:
    with pytest.raises(PellucidError, match="needs a mask"):
        object_agreement(torch.ones(1, 1, 2, 2), torch.ones(1, 3, 3))


def test_weights_are_randomized_from_the_last_layer() -> None:
    net, params, _ = network_and_batch("resnet")
    before = {name: tensor.clone() for name, tensor in flatten(params).items()}
    steps = list(cascading_randomization(net, params))
    paths = [path for path, _ in steps]
    assert paths[0] == "scores"
    assert paths[-2:] == ["norm", "stem"]
    assert len(paths) == 1 + 2 + 2 * 4
    shuffled_paths: set[str] = set()
    for path, shuffled in steps:
        shuffled_paths.add(path)
        for name, tensor in flatten(shuffled).items():
            layer, _, leaf = name.rpartition(".")
            changed = not torch.equal(tensor, before[name])
            assert not changed or layer in shuffled_paths, name
            assert changed or layer not in shuffled_paths or leaf != "weight", name
            assert not (changed and leaf.startswith("running"))
            assert torch.equal(tensor.flatten().sort().values, before[name].flatten().sort().values)
    assert all(torch.equal(tensor, before[name]) for name, tensor in flatten(params).items()), "the network itself"


def test_saliency_depends_on_the_weights_and_the_image_itself_does_not() -> None:
    net, params, x = network_and_batch("vgg")
    correlations = randomize_weights(net, params, lambda weights: saliency(net, weights, x, 0))
    assert [row.path for row in correlations] == ["scores", "conv2", "conv1"]
    assert float(correlations[-1].correlation.max()) < 0.8

    def image_map(weights: dict[str, Tensor]) -> Tensor:
        return x

    assert all(float(row.correlation.min()) > 1 - 1e-12 for row in randomize_weights(net, params, image_map))


def test_equal_values_share_a_rank_as_in_scipy() -> None:
    values = torch.tensor([3.0, -1.0, 3.0, 0.0, 3.0, 0.0])
    assert ranks(values).tolist() == (rankdata(values.numpy()) - 1).tolist()


@pytest.mark.parametrize("ties", [False, True])
def test_the_rank_correlation_equals_scipys(ties: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = normal((3, 5, 4), rng), normal((3, 5, 4), rng)
    if ties:
        a, b = a.round(), b.round()
    for n, result in enumerate(rank_correlation(a, b).tolist()):
        assert result == pytest.approx(spearmanr(a[n].flatten().numpy(), b[n].flatten().numpy()).statistic, abs=1e-12)


def test_the_distance_of_an_order_to_itself_is_0_and_to_its_reverse_2() -> None:
    a = normal((2, 3, 4, 4), torch.Generator().manual_seed(1))
    assert_close(distance(a, 7 * a), torch.zeros(2, dtype=torch.float64), 1e-12)
    assert bool((distance(a, a) >= 0).all()), "a rounding leads no further than 0"
    assert_close(distance(a, -a), torch.full((2,), 2.0, dtype=torch.float64), 1e-12)


def test_a_map_without_an_order_has_no_correlation() -> None:
    assert rank_correlation(torch.ones(1, 4), torch.arange(4.0)[None]).isnan().all()


def test_maps_of_different_sizes_are_reported() -> None:
    with pytest.raises(PellucidError, match="cannot be compared"):
        rank_correlation(torch.ones(1, 4), torch.ones(1, 5))
    with pytest.raises(PellucidError, match="is not an image"):
        distance(torch.ones(1, 4), torch.ones(1, 4))


def test_relevance_is_conserved_where_there_are_no_biases() -> None:
    rng = torch.Generator().manual_seed(0)
    net = Sequential(conv=Conv2d(3, 3, bias=False), relu=ReLU(), flat=Flatten(), scores=Dense(3, bias=False))
    params = randomized(net.init((2, 6, 6), rng)[0], rng)
    x = normal((2, 2, 6, 6), rng)
    relevance = lrp(net, params, x, 1, "epsilon", epsilon=1e-12)
    result = conservation(net, params, x, 1, relevance)
    assert float(result.gap.max()) < 1e-6
    assert_close(conservation(net, params, x, 1, 2 * relevance).gap, torch.ones(2, dtype=torch.float64), 1e-6)


def test_integrated_gradients_are_complete_and_half_of_them_have_a_gap_of_one_half() -> None:
    net, params, x = network_and_batch("vgg")
    attribution = integrated_gradients(net, params, x, None, baseline=0.25, steps=400)
    assert float(completeness(net, params, x, None, attribution, 0.25).gap.max()) < 0.01
    half_check = completeness(net, params, x, None, attribution / 2, 0.25)
    assert_close(half_check.gap, torch.full((2,), 0.5, dtype=torch.float64), 0.02)


def test_the_relative_gap_of_two_zero_sums_is_0() -> None:
    net, params, x = network_and_batch("vgg")
    assert completeness(net, params, x, 0, torch.zeros_like(x), x).gap.tolist() == [0, 0]
    assert completeness(net, params, x, 0, torch.ones_like(x), x).gap.isinf().all()


def test_the_gap_of_a_nan_sum_is_not_0() -> None:
    nan, inf = torch.nan, torch.inf
    gap = SumCheck(torch.tensor([nan, 1, nan, inf, 2]), torch.tensor([1, nan, 0, inf, 2])).gap
    assert gap[:4].isnan().all()
    assert gap[4] == 0
