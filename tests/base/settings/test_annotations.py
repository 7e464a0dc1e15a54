"""Type annotations of settings, checked for JSON and TOML values, which differ in lists, None and integer ranges."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from typing import Any

import pytest

from pellucid.base.settings.annotations import Argument, arguments_of, convert
from pellucid.extend.config import JSON_FORMAT
from pellucid.layers import ReLU
from pellucid.layers.base import Layer
from pellucid.recipe.toml import TOML


@pytest.mark.parametrize(
    ("value", "kind", "json", "toml"),
    [
        (2**40, int, False, True),
        (10**400, float, False, False),
        (float("nan"), float, False, False),
        ("none", float | None, False, True),
        (None, float | None, True, True),
        ("\ud800", str, True, False),
        ([1, 2], tuple[int, ...], False, True),
        ((1, 2), tuple[int, ...], True, True),
        ((1, 2), tuple[int], False, False),
        ([1, 2], Sequence[int], True, True),
        ("ab", Sequence[str], False, False),
        ((1, 2), list[int], False, False),
        ({"a": 1}, Mapping[str, int], True, True),
        ({"a": "b"}, Mapping[str, int], False, False),
        (ReLU(), Layer, True, True),
        (3, Layer, False, False),
        (3, Any, False, True),
    ],
)
def test_json_and_toml_values_are_checked_against_annotations(value: Any, kind: Any, json: bool, toml: bool):
    assert (convert(value, kind, JSON_FORMAT)[0], convert(value, kind, TOML)[0]) == (json, toml)


def test_settings_are_in_the_order_of_the_constructor():
    @dataclass(frozen=True)
    class Base:
        late: bool = field(default=False, kw_only=True)

    @dataclass(frozen=True)
    class Part(Base):
        first: int
        sizes: list[int] = field(default_factory=list)

    assert arguments_of(Part) == {
        "first": Argument(int, MISSING),
        "sizes": Argument(list[int], []),
        "late": Argument(bool, False),
    }
