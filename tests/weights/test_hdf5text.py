"""Text attributes of HDF5 files as written by h5py, and damaged ones that declare gigabytes."""

import resource
import sys
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import pytest

from pellucid.weights import open_weights
from pellucid.weights.kerasfile import text_attribute


def write_attributes(path: Path, **texts: object) -> tuple[bytes, int]:
    """Write a group with text attributes; return the file's bytes and the address of the group's header."""
    with h5py.File(path, "w") as file:
        group = file.create_group("a/b")
        for name, text in texts.items():
            group.attrs[name] = text
        low, high = h5py.h5g.get_objinfo(group.id).objno
    return path.read_bytes(), low | high << 32


@pytest.mark.parametrize("text", ["conv", "x" * 255, "größer", np.bytes_(b"fixed"), "a/b c:0"])
def test_text_attributes_equal_those_that_h5py_wrote(text, tmp_path):
    data, address = write_attributes(tmp_path / "a.h5", first="other", name=text, last="more")
    expected = text if isinstance(text, str) else text.decode()
    assert text_attribute(BytesIO(data), address, "name") == expected
    assert text_attribute(BytesIO(data), address, "last") == "more"
    assert text_attribute(BytesIO(data), address, "nam") is None


def test_attributes_are_read_from_continued_headers(tmp_path):
    data, address = write_attributes(tmp_path / "a.h5", **{f"text{number}": f"word {number}" for number in range(40)})
    for number in range(40):
        assert text_attribute(BytesIO(data), address, f"text{number}") == f"word {number}"


@pytest.mark.parametrize("text", [7, ["a", "b"], "x" * 256, np.bytes_(b"x" * 300), h5py.Empty("f4"), np.zeros(3)])
def test_attribute_that_is_not_a_short_text_is_none(text, tmp_path):
    data, address = write_attributes(tmp_path / "a.h5", name=text)
    assert not text_attribute(BytesIO(data), address, "name")


@pytest.mark.parametrize("address", [0, 1, 10**6, (1 << 63) - 1, (1 << 64) - 1])
def test_invalid_header_address_gives_none(address, tmp_path):
    data, _ = write_attributes(tmp_path / "a.h5", name="conv")
    assert text_attribute(BytesIO(data), address, "name") is None


@pytest.mark.skipif(sys.platform != "linux", reason="counts in kilobytes")
def test_text_with_a_huge_declared_length_takes_no_memory(tmp_path):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/conv2d/vars")
        group.attrs["name"] = "some layer"
        group.create_dataset("0", data=np.ones(4, np.float32))
    data = path.read_bytes()
    heap = data.index(b"GCOL").to_bytes(8, "little")
    assert data.count(b"\x0a\0\0\0" + heap) == 1  # length and address of the name
    path.write_bytes(data.replace(b"\x0a\0\0\0" + heap, b"\xff\xff\xff\xff" + heap))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert list(open_weights(path)) == ["layers/conv2d/vars/0"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
