"""Files of torch.save, compared with torch.load, and invalid archives."""

import copy
import io
import stat
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pellucid.weights import open_weights
from tests.weights.conftest import OpenRefused
from tests.weights.samples import SAMPLE_TENSORS, write_sample


def reads_as(path: Path, expected: dict[str, Tensor]) -> bool:
    tensors = open_weights(path)
    return list(tensors) == list(expected) and all(
        tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor.contiguous())
        for name, tensor in expected.items()
    )


@pytest.fixture(params=["zip", "old"])
def is_zip(request: pytest.FixtureRequest) -> bool:
    return request.param == "zip"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_state_dict_of_modules_is_read(is_zip, protocol, tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)).to(memory_format=torch.channels_last)
    path = tmp_path / "net.pth"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=is_zip, pickle_protocol=protocol)
    assert reads_as(path, torch.load(path, weights_only=False))
    assert reads_as(path, dict(net.state_dict()))


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
     torch.uint8, torch.bool],
)  # fmt: skip
def test_every_dtype_is_read(is_zip, dtype, tmp_path):
    tensors = {"a": torch.arange(-3, 9).reshape(3, 4).to(dtype), "empty": torch.empty(0, 5, dtype=dtype)}
    torch.save(tensors, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    assert reads_as(tmp_path / "a.pth", tensors)


def test_views_of_one_storage_become_separate_tensors(is_zip, tmp_path):
    base = torch.arange(24.0)
    views = {
        "part": base[5:9],
        "transposed": base.reshape(4, 6).T,
        "steps": base[::5],
        "tied": base,
        "number": base[7],
        "repeated": base[:2].expand(3, 2),
    }
    path = tmp_path / "a.pth"
    torch.save(views, path, _use_new_zipfile_serialization=is_zip)
    assert reads_as(path, views)
    tensors = open_weights(path)
    tensors["tied"].zero_()
    assert torch.equal(tensors["part"], base[5:9])


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_the_weights_of_a_checkpoint_are_found(is_zip, key, tmp_path):
    net = nn.Linear(3, 2)
    adam = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    adam.step()
    inner = copy.deepcopy(net.state_dict())
    checkpoint = {"epoch": 3, "best": 0.5, key: inner, "optimizer": adam.state_dict(), "args": {"lr": [0.1]}}
    torch.save(checkpoint, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    assert reads_as(tmp_path / "a.pth", inner)


def test_parameters_are_tensors_and_plain_values_are_left_out(is_zip, tmp_path):
    weight = torch.randn(2, 2)
    torch.save({"w": nn.Parameter(weight), "step": 4}, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    assert reads_as(tmp_path / "a.pth", {"w": weight})


def test_ordered_dict_written_by_python_2_is_read(tmp_path):
    """Python 2 passes the pairs as an argument and strings as bytes: OrderedDict([["w", tensor]])."""
    streams = [_pickle(b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"), _pickle(b"M\xe9\x03"), _pickle(b"}U\rlittle_endian\x88s")]
    storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x03NtQ"
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x01K\x02\x85K\x01\x85tR"
    streams += [_pickle(b"ccollections\nOrderedDict\n]]U\x01wa" + tensor + b"aa\x85R}U\x09_metadata}sb")]
    streams += [_pickle(b"]U\x010a")]
    numbers = torch.tensor([1.0, 2.0, 3.0])
    path = tmp_path / "a.pth"
    path.write_bytes(b"".join(streams) + (3).to_bytes(8, "little") + numbers.numpy().tobytes())
    assert reads_as(path, {"w": numbers[1:]})
    assert torch.equal(torch.load(path, weights_only=True)["w"], numbers[1:]), "PyTorch reads it so too"


def _pickle(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(3), "contains one tensor without a name; save only the model's state dict"),
        ([torch.ones(3)], "contains a list, not a dict of tensors"),
        ({}, "contains no named tensors, but an empty dict"),
        ({"lr": 0.1, "epochs": 3}, "contains no named tensors, but lr, epochs"),
        ({"a": torch.ones(1), "b": [torch.ones(1)]}, "has, at b, a list, not a tensor"),
        ({"a": torch.ones(1), 3: torch.ones(1)}, "has, at 3, a tensor whose name is not a string"),
        ({"a": torch.ones(2).to_sparse()}, "refers to torch._utils._rebuild_sparse_tensor"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "refers to torch.ComplexFloatStorage"),
        ({"a": b"bytes", "w": torch.ones(1)}, "refers to _codecs.encode"),
        (nn.Linear(1, 1), "refers to torch.nn.modules.linear.Linear"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_contents_other_than_a_dict_of_tensors_are_refused(value, message, is_zip, tmp_path, open_refused: OpenRefused):
    torch.save(value, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    assert message in open_refused(tmp_path / "a.pth")


def rewrite_archive(path: Path, change, compression: int = zipfile.ZIP_STORED) -> None:
    """Replace the data of each member by `change(info, data)`; remove the member if this is None."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old_archive, zipfile.ZipFile(out, "w", compression) as new_archive:
        for info in old_archive.infolist():
            new_info = zipfile.ZipInfo(info.filename)
            new_info.compress_type = compression
            new_data = change(new_info, old_archive.read(info))
            if new_data is not None:
                new_archive.writestr(new_info, new_data)
    path.write_bytes(out.getvalue())


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_sample("zip", tmp_path / "a.pth")


def test_a_rewritten_archive_is_still_read(archive):
    rewrite_archive(archive, lambda info, data: data)
    assert reads_as(archive, SAMPLE_TENSORS)


def test_compressed_archive_is_refused(archive, open_refused: OpenRefused):
    rewrite_archive(archive, lambda info, data: data, zipfile.ZIP_DEFLATED)
    assert "has the compressed member" in open_refused(archive)


@pytest.mark.slow
def test_decompression_bomb_is_not_unpacked(tmp_path, open_refused: OpenRefused):
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as bomb, bomb.open("a/data.pkl", "w") as file:
        for _ in range(300):
            file.write(bytes(1 << 20))
    assert (tmp_path / "a.pth").stat().st_size < 400_000
    assert "together larger than the file" in open_refused(tmp_path / "a.pth")


def test_wrong_crc_is_refused(archive, open_refused: OpenRefused):
    data = archive.read_bytes()
    offset = data.index(SAMPLE_TENSORS["conv.bias"].numpy().tobytes())
    archive.write_bytes(data[:offset] + b"\x01" + data[offset + 1 :])
    assert "CRC" in open_refused(archive)


def test_symbolic_link_is_refused(archive, open_refused: OpenRefused):
    def link(info: zipfile.ZipInfo, data: bytes) -> bytes:
        if info.filename.endswith("data/1"):
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            return b"/etc/passwd"
        return data

    rewrite_archive(archive, link)
    assert "has the symbolic link a/data/1" in open_refused(archive)


def test_encrypted_member_is_refused(archive, open_refused: OpenRefused):
    data = bytearray(archive.read_bytes())
    offset = -1
    while (offset := data.find(b"PK\1\2", offset + 1)) >= 0:
        data[offset + 8] |= 1  # the encryption flag in each entry of the directory
    archive.write_bytes(data)
    assert "has the encrypted member" in open_refused(archive)


def test_two_members_of_one_name_are_refused(archive, open_refused: OpenRefused):
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(archive, "a") as file:
        file.writestr("a/data/0", b"other")
    assert "has two members with the same name" in open_refused(archive)


@pytest.mark.parametrize(("end", "message"), [("data/0", "is missing"), ("data.pkl", "that PyTorch did not write")])
def test_missing_member_is_refused(end, message, archive, open_refused: OpenRefused):
    rewrite_archive(archive, lambda info, data: None if info.filename.endswith(end) else data)
    assert message in open_refused(archive)


def test_storage_shorter_than_its_tensor_is_refused(archive, open_refused: OpenRefused):
    rewrite_archive(archive, lambda info, data: data[:-4] if info.filename.endswith("data/0") else data)
    assert "needs storage 0 of 432 bytes, which is 428 bytes long" in open_refused(archive)


def test_other_byte_order_is_refused(archive, open_refused: OpenRefused):
    rewrite_archive(archive, lambda info, data: b"big" if info.filename.endswith("byteorder") else data)
    assert "other byte order" in open_refused(archive)


@pytest.mark.parametrize("megabytes", [9, 38])
def test_oversized_zip_directory_is_not_read(archive, megabytes, open_refused: OpenRefused):
    data = bytearray(archive.read_bytes()) + bytes(40 << 20)
    end = data.rindex(b"PK\5\6")
    data[end + 12 : end + 16] = (megabytes << 20).to_bytes(4, "little")
    archive.write_bytes(data[:end] + bytes(40 << 20) + data[end : end + 22])
    assert f"has a directory of {megabytes << 20} bytes" in open_refused(archive)


def test_torchscript_file_is_refused(tmp_path, open_refused: OpenRefused):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/constants.pkl", b"")
        archive.writestr("a/data.pkl", b"")
    assert "is a TorchScript program" in open_refused(tmp_path / "a.pt")


@pytest.mark.parametrize("cut", [1, 8, 40, 500])
def test_truncated_legacy_file_and_legacy_file_with_extra_bytes_are_refused(cut, tmp_path, open_refused: OpenRefused):
    path = write_sample("old", tmp_path / "a.pth")
    intact = path.read_bytes()
    path.write_bytes(intact[:-cut])
    open_refused(path)
    path.write_bytes(intact + bytes(cut))
    assert "does not contain each of its storages exactly once" in open_refused(path)


def test_tensors_larger_than_the_file_are_refused(tmp_path, open_refused: OpenRefused):
    wide = {f"t{k}": torch.zeros(1).expand(1000, 1000) for k in range(3)}
    torch.save(wide, tmp_path / "a.pth")
    assert "describes tensors of 12000000 bytes in a file of" in open_refused(tmp_path / "a.pth")


def test_an_ordered_dict_keeps_its_order(tmp_path):
    tensors = OrderedDict((name, torch.zeros(1)) for name in "zaqb")
    torch.save(tensors, tmp_path / "a.pth")
    assert list(open_weights(tmp_path / "a.pth")) == list("zaqb")
