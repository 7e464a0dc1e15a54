"""Random targets are valid for the loss that draws them."""

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.losses import AuxiliaryCrossEntropy, Coordinates, HeatMaps, Quadratic, SoftmaxCrossEntropy

CASES = {  # (loss, shape of the outputs, shape of the target of one example)
    "classes": (SoftmaxCrossEntropy(), (5,), ()),
    "one output": (Quadratic(), (1,), ()),
    "maps": (SoftmaxCrossEntropy(), (5, 4, 6), (4, 6)),
    "several outputs": (AuxiliaryCrossEntropy(), ((5,), (5,), (5,)), ()),
    "coordinates": (Coordinates((8, 10)), (14,), (7, 3)),
    "heat maps": (HeatMaps(), (7, 4, 5), (7, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_drawn_targets_are_valid(name: str) -> None:
    loss, outputs, shape = CASES[name]
    result = loss.draw(9, outputs, (3, 8, 10), torch.Generator().manual_seed(0))
    assert result is not None
    assert result.shape == (9, *shape)
    loss.check(outputs, result)
    assert len(result.unique()) > 1


def test_key_points_are_labelled_and_inside_the_image() -> None:
    x, y, visible = Coordinates((8, 10)).draw(50, (14,), (3, 8, 10), torch.Generator().manual_seed(0)).unbind(-1)
    assert 1 <= float(x.min()) < 2
    assert 8 < float(x.max()) <= 9
    assert 1 <= float(y.min()) < 2
    assert 6 < float(y.max()) <= 7
    assert bool((visible > 0).all())


def test_no_targets_are_drawn_for_outputs_of_unsuitable_shape() -> None:
    rng = torch.Generator()
    assert SoftmaxCrossEntropy().draw(3, ((5,), (5,)), (3, 8, 10), rng) is None
    with pytest.raises(PellucidError, match="the network has one output"):
        AuxiliaryCrossEntropy().draw(3, (5,), (3, 8, 10), rng)
