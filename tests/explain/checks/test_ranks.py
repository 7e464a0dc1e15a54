"""Rank correlation, against scipy's."""

import pytest
import torch
from scipy.stats import rankdata, spearmanr

from pellucid.errors import PellucidError
from pellucid.explain.checks import distance, rank_correlation, ranks
from tests.oracle import assert_close, normal


def test_equal_values_share_a_rank_as_in_scipy() -> None:
    values = torch.tensor([3.0, -1.0, 3.0, 0.0, 3.0, 0.0])
    assert ranks(values).tolist() == (rankdata(values.numpy()) - 1).tolist()


@pytest.mark.parametrize("ties", [False, True])
def test_the_correlation_is_scipys(ties: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = normal((3, 5, 4), rng), normal((3, 5, 4), rng)
    if ties:
        a, b = a.round(), b.round()
    for n, found in enumerate(rank_correlation(a, b).tolist()):
        assert found == pytest.approx(spearmanr(a[n].flatten().numpy(), b[n].flatten().numpy()).statistic, abs=1e-12)


def test_the_distance_of_an_order_to_itself_is_0_and_to_its_reverse_2() -> None:
    a = normal((2, 3, 4, 4), torch.Generator().manual_seed(1))
    assert_close(distance(a, 7 * a), torch.zeros(2, dtype=torch.float64), 1e-12)
    assert bool((distance(a, a) >= 0).all()), "a rounding leads no further than 0"
    assert_close(distance(a, -a), torch.full((2,), 2.0, dtype=torch.float64), 1e-12)


def test_a_map_without_an_order_has_no_correlation() -> None:
    assert rank_correlation(torch.ones(1, 4), torch.arange(4.0)[None]).isnan().all()


def test_maps_of_different_sizes_are_told() -> None:
    with pytest.raises(PellucidError, match="cannot be compared"):
        rank_correlation(torch.ones(1, 4), torch.ones(1, 5))
    with pytest.raises(PellucidError, match="no picture"):
        distance(torch.ones(1, 4), torch.ones(1, 4))
