"""What is written as TOML reads back the same."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.recipe.toml import write_toml

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts
values = scalars | st.lists(scalars, max_size=4)
keys = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)


@given(st.dictionaries(keys, st.dictionaries(keys | texts.filter(bool), values, max_size=4), max_size=4))
def test_tables_read_back_as_they_were(tables: dict[str, dict[str, object]]):
    assert tomllib.loads(write_toml(tables)) == tables


def test_tuples_become_arrays_and_none_a_word():
    assert tomllib.loads(write_toml({"a": {"b": (1, 2), "c": None}})) == {"a": {"b": [1, 2], "c": "none"}}


def test_what_toml_lacks_is_refused():
    with pytest.raises(TypeError):
        write_toml({"a": {"b": object()}})
