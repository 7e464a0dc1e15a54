"""Headers of tar archives: the same members as in tarfile and WebDataset, and refused hostile archives."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from pellucid.base.errors import PellucidError
from pellucid.data.shards import TarMember, expand_braces, read_member, tar_members

FORMATS = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT}
LONG_NAME = (
    "folder/" * 20 + "é" * 60 + ".png"
)  # needs a pax or GNU header; names in ustar headers have at most 256 characters
NAMES = ["a.png", "b/c.jpg", "b/ü.png", "d" * 95 + ".png", "p" * 100 + "/" + "q" * 90 + ".png"]


def add_member(tar: tarfile.TarFile, name: str, data: bytes, **about: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in about.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("kind", FORMATS)
def test_members_equal_those_of_tarfile(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=FORMATS[kind]) as tar:
        add_member(tar, "b", b"", type=tarfile.DIRTYPE)
        for number, name in enumerate([*NAMES, *([] if kind == "ustar" else [LONG_NAME])]):
            add_member(tar, name, os.urandom(number * 300), mtime=1.5 if kind == "pax" else 1)
    with tarfile.open(path) as tar:
        expected = [(info.name, info.offset_data, info.size) for info in tar if info.isfile()]
        data = {info.name: tar.extractfile(info).read() for info in tar if info.isfile()}  # type: ignore[union-attr]
    actual = [*tar_members(path)]
    assert actual == expected
    assert {info.name: read_member(path, info, "") for info in actual} == data


def test_members_equal_those_of_webdataset(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="its layout is compared with its own reader")
    path = tmp_path / "shard-000000.tar"
    with webdataset.TarWriter(str(path)) as writer:
        for number in range(5):
            writer.write({"__key__": f"{number:04d}", "jpg": os.urandom(700), "cls": str(number).encode()})
    with path.open("rb") as stream:
        expected = {file["fname"]: file["data"] for file in webdataset.tariterators.tar_file_iterator(stream)}
    assert {member.name: read_member(path, member, "") for member in tar_members(path)} == expected


def test_an_archive_written_by_the_tar_command_is_read(tmp_path: Path) -> None:
    (tmp_path / "in" / "b").mkdir(parents=True)
    (tmp_path / "in" / "b" / "a.png").write_bytes(b"123")
    subprocess.run(["tar", "cf", tmp_path / "a.tar", "-C", tmp_path / "in", "./"], check=True)
    (member,) = tar_members(tmp_path / "a.tar")
    assert (member.name, read_member(tmp_path / "a.tar", member, "")) == ("b/a.png", b"123")


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "a/../../b.png", "a//b.png", "..\\a.png", "a/./b.png"])
def test_a_path_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add_member(tar, name, b"1")
    with pytest.raises(PellucidError, match=r"a\.tar .*is not a path inside it"):
        [*tar_members(tmp_path / "a.tar")]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"S"])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add_member(tar, "a.png", b"", type=kind, linkname="/etc/passwd")
    with pytest.raises(PellucidError, match="is a link, a device or a sparse file"):
        [*tar_members(tmp_path / "a.tar")]


def test_archives_that_declare_too_much_or_are_damaged_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        add_member(tar, "a.png", b"1" * 2000)
        add_member(tar, "b.png", b"2" * 2000)
    intact = path.read_bytes()
    for data, reason in [
        (intact[:1000], "ends before its last file"),
        (intact[:2800], "is cut off"),
        (intact[:600] + b"x" + intact[601:], None),  # damage in the data, not in a header
        (b"b" + intact[1:], "header is damaged"),
        (b"no archive" * 100, "header is damaged"),
        (intact[:2560] + b"not a header".ljust(512, b"."), "header is damaged"),
    ]:
        path.write_bytes(data)
        if reason is None:
            assert len([*tar_members(path)]) == 2
            continue
        with pytest.raises(PellucidError, match=reason) as caught:
            [*tar_members(path)]
        assert "\n" not in str(caught.value)
    with tarfile.open(path, "w") as tar:
        add_member(tar, "a.png", b"1")
        add_member(tar, "a.png", b"2")
    with pytest.raises(PellucidError, match=r"two files of the name 'a\.png'"):
        [*tar_members(path)]


def test_a_header_above_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        add_member(tar, "a.png", b"1", pax_headers={"comment": "x" * 100_000})
    with pytest.raises(PellucidError, match="a header of 100"):
        [*tar_members(path)]


def test_a_file_of_more_than_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    header = tarfile.TarInfo("a.png")
    header.size = 300 << 20
    with path.open("wb") as file:
        file.write(header.tobuf())
        file.truncate(header.size + 1024)  # a sparse file, which occupies no disk space
    (member,) = tar_members(path)
    with pytest.raises(PellucidError, match=r"a\.png has 314572800 bytes, above the limit"):
        read_member(path, member, "a.png")
    with pytest.raises(PellucidError, match="cut off; the archive has changed"):
        read_member(path, TarMember("b.png", header.size, 4096), "b.png")


def test_braces_are_expanded_as_in_a_shell(tmp_path: Path) -> None:
    for pattern in ("a-{000..011}.tar", "{b,c}-{8..10}.tar", "plain.tar", "{0..2}{x,y}.tar"):
        shell = subprocess.run(["bash", "-c", f"echo {pattern}"], capture_output=True, text=True, check=True)
        assert expand_braces(pattern) == shell.stdout.split()
    for pattern in ("{0..999999999}.tar", "{0..9999}{0..9999}.tar"):
        with pytest.raises(PellucidError, match="more than 100,000 files"):
            expand_braces(pattern)


def header_with_size(member: tarfile.TarInfo, size: bytes) -> bytes:
    """Return the header of a member with `size` as its size field and a matching checksum."""
    header = bytearray(member.tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = size.ljust(12, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("size", [b"-1000", b"-1", b"+7", b"0o7", b"1_0", b"8"])
@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.REGTYPE])
def test_a_size_that_is_not_an_octal_number_is_refused(tmp_path: Path, kind: bytes, size: bytes) -> None:
    member = tarfile.TarInfo("a.png")
    member.type = kind
    (tmp_path / "a.tar").write_bytes(header_with_size(member, size) + bytes(2048))
    with pytest.raises(PellucidError, match="a header is damaged"):
        [*tar_members(tmp_path / "a.tar")]


def test_the_size_field_of_a_folder_is_ignored_as_in_tarfile(tmp_path: Path) -> None:
    folder, file = tarfile.TarInfo("b"), tarfile.TarInfo("b/a.png")
    folder.type = tarfile.DIRTYPE
    (tmp_path / "a.tar").write_bytes(header_with_size(folder, b"777777") + file.tobuf() + bytes(1024))
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getnames() == ["b", "b/a.png"]
    assert [member.name for member in tar_members(tmp_path / "a.tar")] == ["b/a.png"]


def test_an_archive_that_is_cut_off_between_two_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        add_member(tar, "a.png", b"1" * 512)
        add_member(tar, "b.png", b"2" * 512)
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(PellucidError, match="is cut off"):
        [*tar_members(path)]
