"""How large values are, by channel."""

import pytest
import torch

from pellucid.doctor.measure.sizes import sizes

X = torch.tensor([3.0, -1.0])[:, None, None] + torch.randn(10, 2, 4, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("few", [1, 3, 10, 99])
def test_parts_give_what_the_whole_gives(few: int) -> None:
    found = sizes(X.split(few))
    assert found.mean == pytest.approx(float(X.mean()), rel=1e-5)
    assert found.std == pytest.approx(float(X.std(correction=0)), rel=1e-5)
    assert found.whole == pytest.approx(float(X.square().mean().sqrt()), rel=1e-5)
    assert torch.allclose(found.channels.float(), X.square().mean((0, 2, 3)).sqrt())
    assert torch.equal(found.low.float(), X.amin((0, 2, 3)))
    assert torch.equal(found.high.float(), X.amax((0, 2, 3)))


def test_what_never_varies_has_no_deviation() -> None:
    assert sizes([torch.full((7, 3), 0.1)]).std == 0
