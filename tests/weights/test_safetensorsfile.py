"""Safetensors files: every dtype, and headers that are invalid or too large."""

import json
import os
import struct
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from pellucid.weights import open_weights
from tests.pace import in_loop_durations
from tests.weights.conftest import OpenRefused


def write_file(path: Path, header: object, data: bytes = bytes(16)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def tensor_entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)
def test_every_dtype_is_read_from_a_file_with_metadata(dtype, tmp_path):
    tensors = {"a": torch.arange(6).reshape(2, 3).to(dtype), "empty": torch.empty(0, 4, dtype=dtype)}
    safetensors.torch.save_file(tensors, tmp_path / "a", {"format": "pt"})
    result = open_weights(tmp_path / "a")
    assert result.keys() == tensors.keys()
    assert all(result[name].dtype == dtype and torch.equal(result[name], tensors[name]) for name in tensors)


INVALID_HEADERS = {
    "offsets outside the file": {"a": tensor_entry([400], 0, 1600)},
    "a shape larger than its bytes": {"a": tensor_entry([4, 4], 0, 16)},
    "an absurd shape": {"a": tensor_entry([1 << 40, 1 << 40], 0, 16)},
    "a shape whose product overflows to the right size": {"a": tensor_entry([1 << 62, 1 << 2, 4], 0, 16)},
    "a negative size": {"a": tensor_entry([-4], 0, 16)},
    "an end before the beginning": {"a": tensor_entry([4], 16, 0)},
    "tensors that overlap": {"a": tensor_entry([4], 0, 16), "b": tensor_entry([2], 4, 12)},
    "bytes of nobody": {"a": tensor_entry([2], 0, 8)},
    "an unknown dtype": {"a": tensor_entry([4], 0, 16, "F33")},
    "no offsets": {"a": {"dtype": "F32", "shape": [4]}},
    "an offset that is a text": {"a": {"dtype": "F32", "shape": [4], "data_offsets": ["0", "16"]}},
    "a description that is a number": {"__metadata__": 3, "a": tensor_entry([4], 0, 16)},
    "a name twice": b'{"a":%b,"a":%b}' % ((json.dumps(tensor_entry([4], 0, 16)).encode(),) * 2),
    "a header nested too deeply": b'{"a":' + b"[" * 100_000,
    "a header that is cut off": b'{"a":{"dtype":"F32",',
    "a header of another language": b"{'a': 1}",
    "a number of five thousand digits": b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,16]}}',
    "a list": b'{"a":1}, []',
}


@pytest.mark.parametrize("header_name", INVALID_HEADERS)
def test_invalid_header_is_refused(header_name, tmp_path, open_refused: OpenRefused):
    open_refused(write_file(tmp_path / "a.safetensors", INVALID_HEADERS[header_name]))


@pytest.mark.parametrize("length", [1 << 25, (1 << 32) - 1])
def test_a_header_of_absurd_length_is_not_read(length, tmp_path, open_refused: OpenRefused):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b'{"a":1}')
    assert f"has a header of {length} bytes, above the limit" in open_refused(path)


def test_duplicate_among_many_names_is_found_quickly(tmp_path, open_refused: OpenRefused):
    names = [*range(100_000), 99_999]
    start = time.process_time()
    assert "has n99999 twice" in open_refused(
        write_file(tmp_path / "a", b"{%s}" % b",".join(b'"n%d":0' % k for k in names))
    )
    assert in_loop_durations(time.process_time() - start) < 400  # a comparison of all pairs of names took half an hour


@pytest.mark.heavy
@pytest.mark.slow
def test_many_scalars_are_read_or_refused_quickly(tmp_path, open_refused: OpenRefused):
    """The library searches the whole header for each single tensor: 140,000 tensors took 16 s."""
    for count in (40_000, 140_000):
        path = write_file(
            tmp_path / "a", {f"t{k}": tensor_entry([], 4 * k, 4 * k + 4) for k in range(count)}, bytes(4 * count)
        )
        start = time.process_time()
        if count > 50_000:
            assert "contains 140000 tensors, above the limit" in open_refused(path)
        else:
            assert len(open_weights(path)) == count
        assert in_loop_durations(time.process_time() - start) < 600


def test_booleans_other_than_0_and_1_are_refused(tmp_path, open_refused: OpenRefused):
    path = write_file(tmp_path / "a", {"a": tensor_entry([2, 2], 0, 4, "BOOL")}, b"\0\1\7\1")
    assert "has booleans at a that are neither 0 nor 1" in open_refused(path)


def test_file_larger_than_its_header_declares_is_not_read(tmp_path, open_refused: OpenRefused):
    path = write_file(tmp_path / "a", {"a": tensor_entry([4], 0, 16)})
    os.truncate(path, 15 << 30)  # a sparse file, which occupies no disk space
    assert "bytes, but has 16106127360" in open_refused(path)


@pytest.mark.parametrize("header", [{}, {"__metadata__": {"format": "pt"}}])
def test_file_without_tensors_is_refused(header, tmp_path, open_refused: OpenRefused):
    assert "contains no tensors" in open_refused(write_file(tmp_path / "a", header, b""))


def test_the_error_contains_the_duplicate_name(tmp_path, open_refused: OpenRefused):
    assert "has a twice in its header" in open_refused(write_file(tmp_path / "a", INVALID_HEADERS["a name twice"]))
