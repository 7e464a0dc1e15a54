"""Idx files: complete arrays are read, damaged files raise an error that names the file."""

import gzip
import hashlib
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.data import read_idx, write_idx

# The idx format: two zero bytes, type, number of dimensions, big-endian sizes, then the values.
HAND_WRITTEN = bytes([0, 0, 8, 2]) + struct.pack(">II", 2, 3) + bytes([1, 2, 3, 250, 251, 252])


def read_error(path: Path, **options) -> str:
    with pytest.raises(PellucidError) as info:
        read_idx(path, **options)
    assert str(path) in str(info.value)
    assert "\n" not in str(info.value)
    return str(info.value)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_file_written_by_hand_is_read(tmp_path, compress):
    path = tmp_path / "hand"  # gzip is recognized by its content, not by the file name
    path.write_bytes(compress(HAND_WRITTEN))
    assert read_idx(path).tolist() == [[1, 2, 3], [250, 251, 252]]
    assert read_idx(path).dtype == torch.uint8


def test_values_are_big_endian(tmp_path):
    path = tmp_path / "shorts"
    path.write_bytes(bytes([0, 0, 0x0B, 1]) + struct.pack(">I", 2) + struct.pack(">hh", -2, 258))
    assert read_idx(path).tolist() == [-2, 258]


@pytest.mark.parametrize("name", ["a.idx", "a.idx.gz"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.float32, torch.float64])
def test_written_files_are_read_back(tmp_path, name, dtype):
    tensor = torch.arange(-12, 12).to(dtype).reshape(2, 3, 4)
    write_idx(tmp_path / name, tensor)
    loaded = read_idx(tmp_path / name)
    assert loaded.dtype == dtype
    assert torch.equal(loaded, tensor)
    assert [p.name for p in tmp_path.iterdir()] == [name]  # no temporary file is left
    assert ((tmp_path / name).read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")


def test_written_bytes_follow_the_format_and_are_reproducible(tmp_path):
    tensor = torch.tensor([[1, 2, 3], [250, 251, 252]], dtype=torch.uint8)
    write_idx(tmp_path / "a", tensor)
    assert (tmp_path / "a").read_bytes() == HAND_WRITTEN
    write_idx(tmp_path / "a.gz", tensor)
    first = (tmp_path / "a.gz").read_bytes()
    write_idx(tmp_path / "a.gz", tensor)
    assert (tmp_path / "a.gz").read_bytes() == first


def test_arrays_that_idx_cannot_store_are_refused(tmp_path):
    with pytest.raises(PellucidError, match="int64"):
        write_idx(tmp_path / "a", torch.zeros(3, dtype=torch.int64))
    with pytest.raises(PellucidError, match="shape"):
        write_idx(tmp_path / "a", torch.tensor(3, dtype=torch.uint8))
    with pytest.raises(PellucidError, match="cannot be written"):
        write_idx(tmp_path / "nowhere" / "a", torch.zeros(3))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated"),
        (HAND_WRITTEN[:3], "truncated"),
        (HAND_WRITTEN[:7], "truncated"),
        (b"\x89PNG" + HAND_WRITTEN, "not an idx file"),
        (bytes([0, 0, 7, 2]) + HAND_WRITTEN[4:], "not an idx file"),
        (bytes([0, 0, 8, 0]) + HAND_WRITTEN[4:], "not an idx file"),
        (bytes([0, 0, 8, 200]) + HAND_WRITTEN[4:], "not an idx file"),
        (HAND_WRITTEN + b"x", "continues after"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12 + b"abc", "more than a file of its size can contain"),
    ],
)
def test_damaged_files_are_refused(tmp_path, compress, data, message):
    path = tmp_path / "bad"
    path.write_bytes(compress(data))
    assert message in read_error(path)


def test_a_truncated_raw_file_is_refused(tmp_path):
    path = tmp_path / "bad"
    path.write_bytes(HAND_WRITTEN[:-1])
    assert "truncated: 1 bytes are missing" in read_error(path)


def test_a_truncated_gzip_is_refused(tmp_path):
    path = tmp_path / "bad.gz"
    intact = gzip.compress(HAND_WRITTEN)
    for end in (1, 5, 12, len(intact) - 9, len(intact) - 1):
        path.write_bytes(intact[:end])
        read_error(path)


def test_one_wrong_bit_in_a_gzip_is_refused(tmp_path):
    path = tmp_path / "bad.gz"
    data = bytearray(
        gzip.compress(HAND_WRITTEN, 0, mtime=0)
    )  # stored without compression, so the changed bit is in a value and not in the time
    data[data.index(250)] ^= 1
    path.write_bytes(data)
    assert "CRC" in read_error(path)


def test_a_gzip_bomb_is_refused_in_little_memory(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(HAND_WRITTEN + bytes(64 << 20)))
    tracemalloc.start()
    read_error(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_missing_files_and_folders_are_reported(tmp_path):
    assert "is missing" in read_error(tmp_path / "none")
    assert "not a file" in read_error(tmp_path)


def test_the_checksum_is_of_the_uncompressed_file(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(HAND_WRITTEN))
    checksum = hashlib.sha256(HAND_WRITTEN).hexdigest()
    assert read_idx(path, sha256=checksum).shape == (2, 3)
    assert "wrong checksum" in read_error(path, sha256="0" * 64)


@pytest.mark.real
def test_mnist_files_have_their_published_shapes(real_data):
    folder = real_data("mnist")
    labels = read_idx(folder / "train-labels-idx1-ubyte.gz")
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]  # the first labels, as printed in tutorials on MNIST
    # The published class counts of the training set.
    assert torch.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    images = read_idx(folder / "train-images-idx3-ubyte.gz")
    assert tuple(images.shape) == (60000, 28, 28)
    assert np.isclose(float(images.double().mean()) / 255, 0.1307, atol=5e-5)
