"""The statistics of the page of benchmarks."""

import pytest

from benchmarks.table import median_interval


@pytest.mark.parametrize(("count", "ranks"), [(3, (1, 3)), (6, (1, 6)), (9, (2, 8)), (12, (3, 10)), (20, (6, 15))])
def test_the_interval_of_a_median_has_the_ranks_of_the_sign_test(count: int, ranks: tuple[int, int]) -> None:
    """The ranks are those of Conover's table; for fewer than six values, all of them."""
    assert median_interval([float(k) for k in range(count, 0, -1)]) == ranks
