"""Search spaces: the values of `--over KEY=VALUES`."""

from typing import Any

import pytest

from pellucid.base.errors import PellucidError
from pellucid.tuning.space import ValueList, ValueRange, read_values, values_from_json, with_type_of


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        ("sgd,adam", ("sgd", "adam")),
        ("0.1, 1e-2,3", (0.1, 0.01, 3)),
        ("true,false", (True, False)),
        ("[30],[30, 30]", ([30], [30, 30])),
        ('"a,b",c', ("a,b", "c")),
        ("../a,../b", ("../a", "../b")),
        ("7", (7,)),
        ("0..4", (0, 1, 2, 3, 4)),
        ("16..100:log", (16, 32, 64, 100)),
        ("1e-4..1e-1:log", (0.0001, 0.001, 0.01, 0.1)),
        ("1e-4..5e-3:log", (0.0001, 0.001, 0.005)),
        ("0.0..1.0", (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("-1.5..1.5:3", (-1.5, 0.0, 1.5)),
        (".5..1", (0.5, 0.625, 0.75, 0.875, 1.0)),
        ("1..100:log:3", (1, 10, 100)),
        ("1e-3..1e-1:log:5", (0.001, 0.003162, 0.01, 0.03162, 0.1)),
    ],
)
def test_a_list_or_range_in_text_is_parsed_into_a_grid(text: str, grid: tuple[Any, ...]):
    assert read_values(text, "--over k").grid == grid


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1..0", "1..0 is not a range; its first number must be the smaller"),
        ("0..1:log", "must begin above 0, not at 0"),
        ("0..1:1", "a range has from 2 to 10,000 points, not 1"),
        ("a,,b", "has an empty value"),
        ("sgd,sgd", '"sgd" is given twice'),
    ],
)
def test_text_that_is_neither_a_list_nor_a_range_is_refused(text: str, message: str):
    with pytest.raises(PellucidError, match="--over k") as result:
        read_values(text, "--over k")
    assert message in str(result.value)


@pytest.mark.parametrize("given", [3, None, {"a": 1}, b"ab"])
def test_values_in_python_must_be_a_sequence_or_a_string(given: Any):
    with pytest.raises(PellucidError, match="takes a list of values, or a range"):
        read_values(given, "--over k")


def test_a_range_takes_the_type_of_its_key():
    value_range = read_values("0..2", "--over k")
    assert with_type_of(value_range, 0.0, "--over k").grid == (0.0, 0.5, 1.0, 1.5, 2.0)
    assert with_type_of(value_range, 0, "--over k").grid == (0, 1, 2)
    with pytest.raises(PellucidError, match="takes whole numbers"):
        with_type_of(read_values("0.5..2", "--over k"), 1, "--over k")
    with pytest.raises(PellucidError, match="takes no numbers, so no range"):
        with_type_of(value_range, "sgd", "--over k")


def test_draws_cover_a_range_evenly_on_its_scale():
    fractions = [(k + 0.5) / 1000 for k in range(1000)]
    integers = [ValueRange(1, 4, whole=True).value_at(u) for u in fractions]
    assert {value: integers.count(value) for value in set(integers)} == {1: 250, 2: 250, 3: 250, 4: 250}
    rates = [ValueRange(1e-4, 1e-1, log=True).value_at(u) for u in fractions]
    assert [sum(low <= x < 10 * low for x in rates) for low in (1e-4, 1e-3, 1e-2)] == pytest.approx([333] * 3, abs=2)
    assert [ValueList(("a", "b")).value_at(u) for u in (0.0, 0.49, 0.5, 1.0)] == ["a", "a", "b", "b"]
    assert ValueRange(0.1, 0.3).value_at(1.0) == 0.3


@pytest.mark.parametrize("text", ["a,[1]", "1..3", "1e-3..1.0:log"])
def test_values_are_restored_from_json(text: str):
    values = read_values(text, "--over k")
    assert values_from_json(values.to_json(), "a file") == values
