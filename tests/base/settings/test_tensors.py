"""Conversion of arrays to tensors: every kind of NumPy array is read with its values, or refused in one line."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.base.settings.tensors import as_indices, as_targets, as_tensor

DTYPES = (
    "f2",
    ">f2",
    "f4",
    ">f4",
    "f8",
    ">f8",
    "g",
    "u1",
    "i1",
    "i2",
    ">i2",
    "i4",
    ">i4",
    "i8",
    ">i8",
    "u2",
    ">u2",
    "?",
)


def _memory_map(x, folder):
    x.tofile(folder / "x.bin")
    return np.memmap(folder / "x.bin", x.dtype, "r", shape=x.shape)


def _read_only(x, folder):
    copy = x.copy()
    copy.flags.writeable = False
    return copy


LAYOUTS = {
    "contiguous": lambda x, folder: x,
    "reversed": lambda x, folder: x[::-1],
    "reversed twice": lambda x, folder: x[::-1, ::-1],
    "BGR to RGB": lambda x, folder: x[..., ::-1],
    "every second from the end": lambda x, folder: x[::-2],
    "every second column": lambda x, folder: x[:, ::2],
    "transposed": lambda x, folder: x.T,
    "Fortran order": lambda x, folder: np.asfortranarray(x),
    "repeated by broadcasting": lambda x, folder: np.broadcast_to(x[:1], x.shape),
    "read-only": _read_only,
    "memory map": _memory_map,
    "field of a record": lambda x, folder: _record(x)["value"],
    "masked array without masked values": lambda x, folder: np.ma.array(x),
    "Python objects": lambda x, folder: x.astype(object),
    "list of arrays": lambda x, folder: list(x[..., ::-1]),
    "nested lists": lambda x, folder: x.tolist(),
}


def _record(x):
    records = np.zeros(x.shape, [("flag", "u1"), ("value", x.dtype)])
    records["value"] = x
    return records


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_tensor_has_the_values_of_the_array(dtype, layout, tmp_path):
    values = np.random.default_rng(0).integers(0, 2, (4, 5, 3))
    array = LAYOUTS[layout](values.astype(dtype), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = as_tensor(array, "x")
    assert tensor.tolist() == np.array(array).astype(np.float64).tolist()
    is_float = np.dtype(dtype).kind == "f"
    assert tensor.is_floating_point() == is_float


def test_memory_is_shared_where_a_tensor_can():
    x = np.zeros((2, 3), np.float32)
    as_tensor(x.T, "x")[1, 1] = 5
    assert x[1, 1] == 5
    y = torch.zeros(2)
    as_tensor(y, "x")[0] = 1
    assert y[0] == 1


@pytest.mark.parametrize("dtype", ["u2", ">u2", "u4", ">u4", "u8"])
def test_unsigned_classes_become_int64(dtype):
    targets = as_targets(np.array([3, 0, 40_000], dtype), "y", torch.float32)
    assert (targets.dtype, targets.tolist()) == (torch.int64, [3, 0, 40_000])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "x is not an array of numbers: it is None"),
        ([None], "x is not an array of numbers: it contains None"),
        ([[1.0, None]], "it contains None"),
        (np.array([1, None], object), "it contains None"),
        ([torch.zeros(2), None], "it contains None"),
        (["a", 1], "it contains 'a'"),
        (b"abc", "it is b'abc'"),
        ({"a": 1}, "it is {'a': 1}"),
        ([10**30], "it contains 1000000000000000000000000000000"),
        (np.array(["2020-01-01"], "M8[D]"), r"its dtype is datetime64\[D\]"),
        (np.zeros(2, [("a", "f4")]), "its dtype is"),
        ([[1.0], [1.0, 2.0]], "its entries have different shapes; give each shape as a separate batch"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], "its entries have different shapes"),
        ([torch.zeros(2), torch.zeros(3)], "its entries have different shapes"),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), "x: some values are masked"),
        ([np.ma.array([1.0, 2.0], mask=[0, 1])], "x: some values are masked"),
        ("a.png", "x is 'a.png', not an array"),
        (Path("a.png"), "x is 'a.png', not an array"),
        (torch.zeros(2, device="meta"), "without values"),
        (torch.eye(2).to_sparse(), "layout sparse_coo"),
    ],
)
def test_what_is_not_an_array_of_numbers_is_refused_in_one_line(values, message):
    with pytest.raises(PellucidError, match=message) as caught:
        as_tensor(values, "x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "indices", [[4, 0], np.array([0, 4])[::-1], np.array([4, 0], ">i2"), torch.tensor([4, 0]), (4, 0)]
)
def test_indices_of_any_integer_type_are_accepted(indices):
    assert as_indices(indices, 5, "subset").tolist() == [4, 0]


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (np.array([True, False]), "indices are bool; give whole numbers, such as numpy.flatnonzero"),
        ([0.0, 1.0], "indices are float64"),
        ([0, 5], r"indices 0 to 5, but there are 0 to 4"),
        ([-1], r"index -1, but there are 0 to 4"),
        ([None], "it contains None"),
    ],
)
def test_other_indices_are_refused(indices, message):
    with pytest.raises(PellucidError, match=message):
        as_indices(indices, 5, "subset")
