"""One call opens every format, told by what is in the file."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.weights import format_name, open_weights
from tests.weights.conftest import Refused
from tests.weights.samples import KINDS, ORDINARY, write

NAMES = ("PyTorch, zip", "PyTorch, before 1.6", "safetensors", "Keras, HDF5", "ONNX")


@pytest.mark.parametrize(("kind", "name"), [*zip(KINDS, NAMES, strict=True)])
def test_the_same_tensors_come_out_of_every_format_whatever_the_name(kind, name, tmp_path):
    path = write(kind, tmp_path / "weights.jpg")
    assert format_name(path) == name
    tensors = open_weights(path)
    assert tensors.keys() == ORDINARY.keys()
    for key, tensor in ORDINARY.items():
        assert tensors[key].dtype == tensor.dtype
        assert torch.equal(tensors[key], tensor), key


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_are_contiguous_and_can_be_written_without_changing_each_other(kind, tmp_path):
    tensors = open_weights(write(kind, tmp_path / "weights"))
    tensors["conv.bias"].fill_(9.0)
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    assert torch.equal(tensors["conv.weight"], ORDINARY["conv.weight"])


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_read_stays_when_the_file_changes(kind, tmp_path):
    path = write(kind, tmp_path / "weights")
    tensors = open_weights(path)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert torch.equal(tensors["conv.weight"], ORDINARY["conv.weight"])


def test_no_file_of_that_name(tmp_path):
    with pytest.raises(PellucidError, match="is missing"):
        open_weights(tmp_path / "none.pth")
    with pytest.raises(PellucidError, match="is not a file"):
        open_weights(tmp_path)
    with pytest.raises(PellucidError, match="is missing"):
        open_weights("a\0b")


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    return out.getvalue()


def _npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, a=np.zeros(3))
    return out.getvalue()


def _npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.zeros(3))
    return out.getvalue()


def _keras_archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("model.weights.h5", b"")
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><title>Sign in</title>", "is a web page"),
        (gzip.compress(b"weights", mtime=0), "gunzip"),
        (b"just text", "is in a format that pellucid cannot read; give a safetensors file"),
        (_tar(), "is a tar archive"),
        (_npz(), "is a NumPy archive"),
        (_npy(), "is one NumPy array"),
        (_keras_archive(), "is a .keras archive; unpack it and give the model.weights.h5"),
        (b"\x89HDF\r\n\x1a\n", "is a damaged HDF5 file"),
        (b"\x08\x08", "contains no graph"),
    ],
)
def test_other_file_formats_are_recognized(data, why, tmp_path, refused: Refused):
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    assert why in refused(path)
