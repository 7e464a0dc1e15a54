"""open_weights recognizes every format by the contents of the file."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.weights import format_name, open_weights
from tests.weights.conftest import OpenRefused
from tests.weights.samples import FORMATS, SAMPLE_TENSORS, write_sample

FORMAT_NAMES = ("PyTorch, zip", "PyTorch, before 1.6", "safetensors", "Keras, HDF5", "ONNX")


@pytest.mark.parametrize(("kind", "name"), [*zip(FORMATS, FORMAT_NAMES, strict=True)])
def test_every_format_gives_the_same_tensors_for_any_file_name(kind, name, tmp_path):
    path = write_sample(kind, tmp_path / "weights.jpg")
    assert format_name(path) == name
    tensors = open_weights(path)
    assert tensors.keys() == SAMPLE_TENSORS.keys()
    for key, tensor in SAMPLE_TENSORS.items():
        assert tensors[key].dtype == tensor.dtype
        assert torch.equal(tensors[key], tensor), key


@pytest.mark.parametrize("kind", FORMATS)
def test_tensors_are_contiguous_and_can_be_written_without_changing_each_other(kind, tmp_path):
    tensors = open_weights(write_sample(kind, tmp_path / "weights"))
    tensors["conv.bias"].fill_(9.0)
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    assert torch.equal(tensors["conv.weight"], SAMPLE_TENSORS["conv.weight"])


@pytest.mark.parametrize("kind", FORMATS)
def test_tensors_are_unchanged_when_the_file_changes(kind, tmp_path):
    path = write_sample(kind, tmp_path / "weights")
    tensors = open_weights(path)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert torch.equal(tensors["conv.weight"], SAMPLE_TENSORS["conv.weight"])


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(PellucidError, match="is missing"):
        open_weights(tmp_path / "none.pth")
    with pytest.raises(PellucidError, match="is not a file"):
        open_weights(tmp_path)
    with pytest.raises(PellucidError, match="is missing"):
        open_weights("a\0b")


def _tar_bytes() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    return out.getvalue()


def _npz_bytes() -> bytes:
    out = io.BytesIO()
    np.savez(out, a=np.zeros(3))
    return out.getvalue()


def _npy_bytes() -> bytes:
    out = io.BytesIO()
    np.save(out, np.zeros(3))
    return out.getvalue()


def _keras_archive_bytes() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("model.weights.h5", b"")
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><title>Sign in</title>", "is a web page"),
        (gzip.compress(b"weights", mtime=0), "gunzip"),
        (b"just text", "is in a format that pellucid cannot read; give a safetensors file"),
        (_tar_bytes(), "is a tar archive"),
        (_npz_bytes(), "is a NumPy archive"),
        (_npy_bytes(), "is one NumPy array"),
        (_keras_archive_bytes(), "is a .keras archive; unpack it and give the model.weights.h5"),
        (b"\x89HDF\r\n\x1a\n", "is a damaged HDF5 file"),
        (b"\x08\x08", "contains no graph"),
    ],
)
def test_unsupported_file_formats_are_recognized(data, message, tmp_path, open_refused: OpenRefused):
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    assert message in open_refused(path)
