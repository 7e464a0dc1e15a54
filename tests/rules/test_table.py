"""Tables of rules: the rule of each layer, and errors for rows that match no layer."""

import pytest

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.layers import Conv2d, Dense, Flatten, ReLU
from pellucid.layers.base import Layer
from pellucid.rules import Epsilon, Pass, ZPlus, composite, own

NET = Sequential(features=Sequential(conv1=Conv2d(2, 3), conv2=Conv2d(2, 3)), flat=Flatten(), scores=Dense(2))


def test_the_first_row_that_fits_gives_the_rule() -> None:
    table = composite(("features.conv1", Epsilon(0.1)), (Conv2d, ZPlus()), ((Dense, ReLU), Pass()))
    assert table("features.conv1", Conv2d(2, 3)) == Epsilon(0.1)
    assert table("features.conv2", Conv2d(2, 3)) == ZPlus()
    assert table("scores", Dense(2)) == Pass()
    assert table("features.act", ReLU()) == Pass()


def test_a_layer_without_a_row_has_its_gradient_or_the_default_rule() -> None:
    assert composite()("flat", Flatten()) is own
    assert composite(otherwise=Pass())("flat", Flatten()) == Pass()


def test_rows_match_by_pattern_and_by_predicate() -> None:
    def is_wide(path: str, layer: Layer) -> bool:
        return isinstance(layer, Dense) and layer.units > 10

    table = composite((("features.*", is_wide), Pass()))
    assert table("features.conv2", Conv2d(2, 3)) == Pass()
    assert table("scores", Dense(11)) == Pass()
    assert table("scores", Dense(10)) is own


def test_a_pattern_that_matches_no_layer_is_refused() -> None:
    composite(("features.conv?", Pass()), (("scores", "flat"), Pass())).check(NET)
    with pytest.raises(PellucidError, match=r"'features.conv3', which matches no layer; did you mean 'features.conv"):
        composite(((Conv2d, "features.conv3"), Pass())).check(NET)
