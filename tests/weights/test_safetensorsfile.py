"""Safetensors whose header lies."""

import json
import os
import struct
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from pellucid.weights import open_weights
from tests.pace import paces
from tests.weights.conftest import Refused


def write(path: Path, header: object, data: bytes = bytes(16)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)
def test_every_number_type_with_a_description_beside_it(dtype, tmp_path):
    tensors = {"a": torch.arange(6).reshape(2, 3).to(dtype), "empty": torch.empty(0, 4, dtype=dtype)}
    safetensors.torch.save_file(tensors, tmp_path / "a", {"format": "pt"})
    result = open_weights(tmp_path / "a")
    assert result.keys() == tensors.keys()
    assert all(result[name].dtype == dtype and torch.equal(result[name], tensors[name]) for name in tensors)


LIES = {
    "offsets outside the file": {"a": entry([400], 0, 1600)},
    "a shape larger than its bytes": {"a": entry([4, 4], 0, 16)},
    "an absurd shape": {"a": entry([1 << 40, 1 << 40], 0, 16)},
    "a shape whose product overflows to the right size": {"a": entry([1 << 62, 1 << 2, 4], 0, 16)},
    "a negative size": {"a": entry([-4], 0, 16)},
    "an end before the beginning": {"a": entry([4], 16, 0)},
    "tensors that overlap": {"a": entry([4], 0, 16), "b": entry([2], 4, 12)},
    "bytes of nobody": {"a": entry([2], 0, 8)},
    "an unknown dtype": {"a": entry([4], 0, 16, "F33")},
    "no offsets": {"a": {"dtype": "F32", "shape": [4]}},
    "an offset that is a text": {"a": {"dtype": "F32", "shape": [4], "data_offsets": ["0", "16"]}},
    "a description that is a number": {"__metadata__": 3, "a": entry([4], 0, 16)},
    "a name twice": b'{"a":%b,"a":%b}' % ((json.dumps(entry([4], 0, 16)).encode(),) * 2),
    "a header nested too deeply": b'{"a":' + b"[" * 100_000,
    "a header that is cut off": b'{"a":{"dtype":"F32",',
    "a header of another language": b"{'a': 1}",
    "a number of five thousand digits": b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,16]}}',
    "a list": b'{"a":1}, []',
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused(lie, tmp_path, refused: Refused):
    refused(write(tmp_path / "a.safetensors", LIES[lie]))


@pytest.mark.parametrize("length", [1 << 25, (1 << 32) - 1])
def test_a_header_of_absurd_length_is_not_read(length, tmp_path, refused: Refused):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b'{"a":1}')
    assert f"has a header of {length} bytes, above the limit" in refused(path)


def test_the_last_of_very_many_names_twice_is_found_at_once(tmp_path, refused: Refused):
    names = [*range(100_000), 99_999]
    start = time.process_time()
    assert "has n99999 twice" in refused(write(tmp_path / "a", b"{%s}" % b",".join(b'"n%d":0' % k for k in names)))
    assert paces(time.process_time() - start) < 400  # comparing each with all before took half an hour


@pytest.mark.slow
def test_many_scalars_are_read_or_refused_quickly(tmp_path, refused: Refused):
    """The library's reader of single tensors looks through the whole header for each: 140,000 took 16 s."""
    for count in (40_000, 140_000):
        path = write(tmp_path / "a", {f"t{k}": entry([], 4 * k, 4 * k + 4) for k in range(count)}, bytes(4 * count))
        start = time.process_time()
        if count > 50_000:
            assert "contains 140000 tensors, above the limit" in refused(path)
        else:
            assert len(open_weights(path)) == count
        assert paces(time.process_time() - start) < 600


def test_truth_values_are_0_or_1(tmp_path, refused: Refused):
    path = write(tmp_path / "a", {"a": entry([2, 2], 0, 4, "BOOL")}, b"\0\1\7\1")
    assert "has booleans at a that are neither 0 nor 1" in refused(path)


def test_a_file_of_fifteen_gigabytes_is_not_read_when_its_header_promises_less(tmp_path, refused: Refused):
    path = write(tmp_path / "a", {"a": entry([4], 0, 16)})
    os.truncate(path, 15 << 30)  # takes no room on the disk
    assert "bytes, but has 16106127360" in refused(path)


@pytest.mark.parametrize("header", [{}, {"__metadata__": {"format": "pt"}}])
def test_a_file_without_tensors(header, tmp_path, refused: Refused):
    assert "contains no tensors" in refused(write(tmp_path / "a", header, b""))


def test_a_name_twice_is_named(tmp_path, refused: Refused):
    assert "has a twice in its header" in refused(write(tmp_path / "a", LIES["a name twice"]))
