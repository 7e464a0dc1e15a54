"""TOML values: checked against the types that constructors declare, and restored after writing."""

import contextlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.base.errors import PellucidError
from pellucid.base.settings.annotations import arguments_of
from pellucid.recipe.toml import check_table, coerce, parse_value, write_toml


@dataclass(frozen=True)
class Oven:
    heat: float
    racks: int = 2
    modes: tuple[str, ...] = ("grill",)


@pytest.mark.parametrize(
    ("value", "kind", "result"),
    [
        (3, int, 3),
        (3, float, 3.0),
        (True, bool, True),
        ("mean", Literal["mean", "sum"], "mean"),
        ([784, 30], Sequence[int], (784, 30)),
        ([1, 2.5], tuple[float, ...], (1.0, 2.5)),
        ([5, 5], int | tuple[int, int], (5, 5)),
        (5, int | tuple[int, int], 5),
        (3, float | int, 3),
        ("none", float | None, None),
        (0.5, float | None, 0.5),
    ],
)
def test_fitting_values_are_converted_to_the_declared_type(value: Any, kind: Any, result: Any):
    actual = coerce(value, kind, "here")
    assert actual == result
    assert type(actual) is type(result)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("much", float, "a number"),
        (True, float, "a number"),
        (float("nan"), float, "a number"),
        (float("inf"), float, "a number"),
        (10**400, float, "a number"),
        (1.5, int, "a whole number"),
        (True, int, "a whole number"),
        (2**63, int, "a whole number"),
        (1, bool, "true or false"),
        (5, str, "text"),
        ("\ud800", str, "text"),
        ("median", Literal["mean", "sum"], "one of 'mean', 'sum'"),
        ([784, "30"], Sequence[int], "a list of whole numbers"),
        (784, tuple[int, ...], "a list of whole numbers"),
        ([1, 2, 3], tuple[int, int], "a list of 2 values"),
        ({}, int, "a whole number"),
        ("nothing", float | None, "a number or 'none'"),
    ],
)
def test_a_wrong_type_error_names_key_and_expected_type(value: Any, kind: Any, expected: str):
    with pytest.raises(PellucidError) as error:
        coerce(value, kind, "file.toml: optimizer.lr")
    assert str(error.value).startswith(f"file.toml: optimizer.lr takes {expected}")
    assert "\n" not in str(error.value)


def test_a_table_gets_the_defaults_of_the_constructor():
    assert check_table({"heat": 200}, arguments_of(Oven), "file", "oven") == {
        "heat": 200.0,
        "racks": 2,
        "modes": ("grill",),
    }


def test_a_table_is_checked_against_the_parameters_of_a_function():
    def bake(sizes: Sequence[int], name: str = "bread") -> None: ...

    assert check_table({"sizes": [1]}, arguments_of(bake), "file", "bake") == {"sizes": (1,), "name": "bread"}


def test_unknown_keys_suggest_the_nearest_and_missing_keys_name_their_type():
    with pytest.raises(PellucidError, match=r"file: unknown key 'oven.rack'; did you mean 'oven.racks'\?"):
        check_table({"heat": 1, "rack": 3}, arguments_of(Oven), "file", "oven")
    with pytest.raises(PellucidError, match=r"file: oven.heat is missing; give it a number"):
        check_table({}, arguments_of(Oven), "file", "oven")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        ("1e-3", 1e-3),
        ("30", 30),
        ("true", True),
        ("[784, 30, 10]", [784, 30, 10]),
        ('"quoted"', "quoted"),
        ("adam", "adam"),
        ("my folder/pictures", "my folder/pictures"),
        ("", ""),
        ("1\nother = 2", "1\nother = 2"),
        ("[" * 5000, "[" * 5000),
    ],
)
def test_the_value_of_a_setting_is_toml_or_text(text: str, value: Any):
    assert parse_value(text) == value


@given(st.text(max_size=30))
def test_every_text_of_a_setting_is_parsed_without_an_error(text: str):
    parse_value(text)


@given(st.sampled_from([int, float, bool, str, tuple[int, ...], int | None, Literal["a"]]), st.text(max_size=20))
def test_coerce_returns_a_value_or_raises_a_pellucid_error(kind: Any, text: str):
    with contextlib.suppress(PellucidError):
        coerce(parse_value(text), kind, "here")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts
values = scalars | st.lists(scalars, max_size=4)
keys = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)


@given(st.dictionaries(keys, st.dictionaries(keys | texts.filter(bool), values, max_size=4), max_size=4))
def test_written_tables_are_read_back_equal(tables: dict[str, dict[str, object]]):
    assert tomllib.loads(write_toml(tables)) == tables


def test_tuples_are_written_as_arrays_and_none_as_a_string():
    assert tomllib.loads(write_toml({"a": {"b": (1, 2), "c": None}})) == {"a": {"b": [1, 2], "c": "none"}}


def test_values_that_toml_cannot_store_are_refused():
    with pytest.raises(TypeError):
        write_toml({"a": {"b": object()}})
