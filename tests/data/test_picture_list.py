"""Lists of pictures from folders, zips, tars, buckets and the web: order, digest, and refused sources."""

import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.data import addresses
from pellucid.data.addresses import read_address, read_ahead
from pellucid.data.picture_list import PictureList, is_collection, picture_list

pytest.importorskip("aiohttp", reason="fsspec reads web servers by it")


def png_bytes(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


FILES = {
    "b/2.png": png_bytes(2),
    "a.png": png_bytes(0),
    "b/1.jpg": png_bytes(1),
    "notes.md": b"text",
    ".hidden/3.png": png_bytes(3),
}
SORTED = ["a.png", "b/1.jpg", "b/2.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "in"


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def contents_by_name(result: PictureList) -> dict[str, bytes]:
    numbers = range(len(result))
    read = [picture() for picture in result.contents(numbers)]
    return {
        result.name(k): picture.read_bytes() if isinstance(picture, Path) else picture
        for k, picture in zip(numbers, read, strict=True)
    }


def test_files_of_folders_and_zips_are_sorted_and_hidden_files_ignored(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    for source in (folder, tmp_path / "in.zip"):
        pictures = picture_list(str(source))
        assert [*contents_by_name(pictures).items()] == [(name, FILES[name]) for name in SORTED]
        before = pictures.digest
        assert picture_list(str(source)).digest == before
    (folder / "b" / "3.png").write_bytes(png_bytes(3))
    assert picture_list(str(folder)).digest != before


def test_tars_are_read_in_their_own_order(tmp_path: Path) -> None:
    write_tar(tmp_path / "s-0.tar", {"b.png": b"b", "b.cls": b"1", "a.jpg": b"a"})
    write_tar(tmp_path / "s-1.tar", {"b.png": b"other"})
    expected = {"s-0.tar:b.png": b"b", "s-0.tar:a.jpg": b"a", "s-1.tar:b.png": b"other"}
    several = [str(tmp_path / "s-0.tar"), str(tmp_path / "s-1.tar")]
    for source in (str(tmp_path), str(tmp_path / "s-{0..1}.tar"), several):
        assert [*contents_by_name(picture_list(source)).items()] == [*expected.items()]
    assert picture_list(str(tmp_path)).where(2) == f"{tmp_path}/s-1.tar:b.png"
    assert all(map(is_collection, [str(tmp_path), several[0], "a.zip", "a.txt", "s3://bucket/a"]))
    with pytest.raises(PellucidError, match=r"s-2\.tar is not a tar archive that can be read"):
        picture_list(str(tmp_path / "s-{0..2}.tar"))


def test_paths_of_a_list_are_relative_to_the_list(folder: Path) -> None:
    (folder / "list.txt").write_text("b/2.png\n\nmissing.png\na.png\n")
    pictures = picture_list(str(folder / "list.txt"))
    assert [pictures.name(k) for k in range(3)] == ["b/2.png", "missing.png", "a.png"]
    assert pictures.read(0) == folder / "b" / "2.png"
    single_picture = picture_list(str(folder / "a.png"))
    assert (len(single_picture), single_picture.name(0), single_picture.read(0)) == (1, "a.png", folder / "a.png")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"file:///etc/passwd", "is not an address that is read"),
        (b"simplecache::s3://a/b.png", "is not an address|is missing|no such"),
        (b"reference://a", "is not an address that is read"),
        (b"x" * 5000, "line 1 is no path"),
        (b"a\0b", "its character 1 is NUL"),
        (b"\xff\xfe", "contains no pictures"),
        (b"", "contains no pictures"),
    ],
)
def test_lists_of_other_than_paths_and_plain_addresses_are_refused(tmp_path: Path, line: bytes, reason: str) -> None:
    (tmp_path / "list.txt").write_bytes(line)
    if b"::" in line:  # a path to a file that does not exist
        assert picture_list(str(tmp_path / "list.txt")).read(0) == tmp_path / line.decode()
        return
    with pytest.raises(PellucidError, match=reason) as caught:
        picture_list(str(tmp_path / "list.txt"))
    assert "\n" not in str(caught.value)


def test_sources_without_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.mp4").write_bytes(b"video")
    (tmp_path / "a.png").write_bytes(b"")
    for source, reason in [
        ("empty", "contains no pictures"),
        ("none", "is missing"),
        ("a.tar.gz", "is compressed, so that no part"),
        ("a.mp4", "a video is read by one process"),
        (["a.png", "empty"], "is not a picture; give it alone"),
    ]:
        sources = [str(tmp_path / one) for one in source] if isinstance(source, list) else str(tmp_path / source)
        with pytest.raises(PellucidError, match=reason):
            picture_list(sources)


@pytest.fixture
def memory() -> Iterator[Any]:
    """Return fsspec's file system in memory, without files."""
    import fsspec

    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def test_pictures_below_a_folder_of_a_bucket_are_listed(memory: Any) -> None:
    for name, data in FILES.items():
        memory.pipe(f"/bucket/photos/{name}", data)
    memory.pipe("/bucket/other.png", png_bytes(9))
    pictures = picture_list("memory://bucket/photos")
    names = [f"memory://bucket/photos/{name}" for name in SORTED]
    assert [*contents_by_name(pictures)] == names
    assert contents_by_name(pictures)[names[-1]] == FILES["b/2.png"]
    before = pictures.digest
    memory.pipe("/bucket/photos/b/2.png", png_bytes(2) + b"more")
    assert picture_list("memory://bucket/photos").digest != before
    assert len(picture_list("memory://bucket/other.png")) == 1
    with pytest.raises(PellucidError, match=r"memory://nothing cannot be read|contains no pictures"):
        picture_list("memory://nothing")


SHARDS = {
    "s-0.tar": {
        "b.png": png_bytes(2),
        "b.cls": b"1",
        "a.jpg": png_bytes(0) * 900,
    },  # larger than one read of the archive
    "s-1.tar": {"b.png": png_bytes(1)},
}


def test_tars_of_a_bucket_and_of_a_disk_have_the_same_pictures(memory: Any, tmp_path: Path) -> None:
    for name, files in SHARDS.items():
        memory.pipe(f"/bucket/shards/{name}", write_tar(tmp_path / name, files).read_bytes())
    expected = picture_list(str(tmp_path))
    addresses = [f"memory://bucket/shards/{name}" for name in SHARDS]
    for source in ("memory://bucket/shards", "memory://bucket/shards/s-{0..1}.tar", addresses):
        actual = picture_list(source)
        assert [*contents_by_name(actual).items()] == [*contents_by_name(expected).items()]
        assert actual.digest == expected.digest
        assert actual.where(2) == "memory://bucket/shards/s-1.tar:b.png"
    assert [*contents_by_name(picture_list([addresses[0], str(tmp_path / "s-1.tar")])).items()] == [
        *contents_by_name(expected).items()
    ]
    memory.pipe("/bucket/shards/a.png", png_bytes(7))
    assert [*contents_by_name(picture_list("memory://bucket/shards"))] == ["memory://bucket/shards/a.png"]


def test_a_damaged_or_changed_tar_of_a_bucket_is_reported(memory: Any, tmp_path: Path) -> None:
    data = write_tar(tmp_path / "s.tar", SHARDS["s-0.tar"]).read_bytes()
    address = "memory://bucket/s.tar"
    for wrong, reason in [(data[:560], "it ends before its last file does"), (b"no archive" * 100, "is damaged")]:
        memory.pipe("/bucket/s.tar", wrong)
        with pytest.raises(PellucidError, match=rf"^{address} is not a tar archive that can be read .*{reason}"):
            picture_list(address)
    memory.pipe("/bucket/s.tar", data)
    pictures = picture_list(address)
    memory.pipe("/bucket/s.tar", data[:600])
    with pytest.raises(PellucidError, match=rf"{address}:a\.jpg is cut off; the archive has changed"):
        pictures.read(1)
    with pytest.raises(PellucidError, match=r"memory://bucket/none\.tar cannot be read"):
        picture_list("memory://bucket/none.tar")
    with pytest.raises(PellucidError, match=r"s\.tar\.gz is compressed"):
        picture_list("memory://bucket/s.tar.gz")


class FolderServer(SimpleHTTPRequestHandler):
    """A web server of a folder, which closes the first connection for each path that contains "lost"."""

    seen: ClassVar[set[str]] = set()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if "lost" in self.path and self.path not in self.seen:
            self.seen.add(self.path)
            self.close_connection = True
            return
        if "endless" in self.path:
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(400):
                    self.wfile.write(bytes(1 << 20))
            except (BrokenPipeError, ConnectionResetError):
                return
            return
        super().do_GET()


class RangeServer(FolderServer):
    """A web server of a folder that sends byte ranges; `parts` has the start and length of each range sent."""

    parts: ClassVar[list[tuple[int, int]]] = []

    def do_GET(self) -> None:
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        data = Path(self.translate_path(self.path)).read_bytes()[first : last + 1]
        self.parts.append((first, len(data)))
        self.send_response(206)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serve_folder(folder: Path, handler: type[FolderServer]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def site(folder: Path) -> Iterator[str]:
    with serve_folder(folder, FolderServer) as address:
        yield address


def test_tars_of_the_web_are_read_by_range_requests(tmp_path: Path) -> None:
    for name, files in SHARDS.items():
        write_tar(tmp_path / name, files)
    expected = picture_list(str(tmp_path))
    RangeServer.parts.clear()
    with serve_folder(tmp_path, RangeServer) as address:
        actual = picture_list(f"{address}/s-{{0..1}}.tar")
        listed = len(RangeServer.parts)
        assert [*contents_by_name(actual).items()] == [*contents_by_name(expected).items()]
    assert actual.digest == expected.digest
    sizes = [len(data) for files in SHARDS.values() for name, data in files.items() if name != "b.cls"]
    assert sorted(size for _, size in RangeServer.parts[listed:]) == sorted(sizes)  # one request for each picture


def test_a_web_server_without_range_requests_is_reported(site: str, folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(addresses, "RETRY_PAUSE", 0.01)
    write_tar(folder / "s.tar", SHARDS["s-0.tar"])
    with pytest.raises(PellucidError, match=r"s\.tar cannot be read: the server sends no parts of files; copy"):
        picture_list(f"{site}/s.tar")


def test_web_addresses_are_read_and_retried(site: str, folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(addresses, "RETRY_PAUSE", 0.01)
    (folder / "lost.png").write_bytes(png_bytes(7))
    lines = [f"{site}/b/2.png?size=4", "a.png", f"{site}/lost.png", f"{site}/none.png"]
    (folder / "list.txt").write_text("\n".join(lines))
    pictures = picture_list(str(folder / "list.txt"))
    read = [*pictures.contents(range(4))]
    assert [read[0](), read[1](), read[2]()] == [FILES["b/2.png"], folder / "a.png", png_bytes(7)]
    with pytest.raises(PellucidError, match=r"none\.png cannot be read") as caught:
        read[3]()
    assert "\n" not in str(caught.value)
    with pytest.raises(PellucidError, match="the web has no folders"):
        picture_list(f"{site}/b")
    assert picture_list(f"{site}/a.png").read(0) == FILES["a.png"]


def test_an_endless_response_is_stopped_at_the_limit(site: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(addresses, "MAX_ADDRESS_BYTES", 3 << 20)
    with pytest.raises(PellucidError, match="more than 3145728 bytes"):
        read_address(f"{site}/endless.png", threading.Event())


def test_the_error_for_a_missing_s3fs_says_how_to_install_it(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    try:
        import s3fs  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        with pytest.raises(PellucidError, match=r"need a library that is not installed .*pip install s3fs"):
            picture_list("s3://bucket/photos")
        (tmp_path / "list.txt").write_text("a.png\ns3://bucket/a.png\n")
        with pytest.raises(PellucidError, match="pip install s3fs"):  # one error, not one for each picture
            picture_list(str(tmp_path / "list.txt"))


def test_tars_with_equal_names_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        with tarfile.open(tmp_path / folder / "s.tar", "w") as tar:
            tar.add(__file__, "x.png")
    names = [str(tmp_path / folder / "s.tar") for folder in "ab"]
    with pytest.raises(PellucidError, match=r"a/s\.tar and .*b/s\.tar have the same name"):
        picture_list(names)
    with pytest.raises(PellucidError, match="have the same name"):
        picture_list([names[0], names[0]])


def test_the_number_of_pictures_read_ahead_is_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(addresses, "MAX_READ_AHEAD", 5)
    begun: list[int] = []
    result = read_ahead(lambda k: begun.append(k) or k, range(100), stop := threading.Event())
    assert [next(result)() for _ in range(3)] == [0, 1, 2]
    result.close()  # type: ignore[attr-defined]
    assert len(begun) <= 8
    assert stop.is_set()


def test_an_iterator_dropped_while_a_read_blocks_is_closed_at_once_and_stops_the_reads() -> None:
    read_ends = threading.Event()
    begun: list[int] = []

    def read(index: int) -> int:
        begun.append(index)
        if index:
            read_ends.wait(30)
        return index

    stop = threading.Event()
    result = read_ahead(read, range(1000), stop)
    assert next(result)() == 0
    threading.Timer(5, read_ends.set).start()
    del result
    was_closed_before_the_reads_ended = not read_ends.is_set()
    read_ends.set()
    assert was_closed_before_the_reads_ended
    assert stop.is_set()
    assert len(begun) <= addresses.READER_THREADS + 1


def test_no_download_is_retried_after_reading_ahead_has_stopped(monkeypatch: Any) -> None:
    monkeypatch.setattr(addresses, "RETRY_PAUSE", 1000.0)
    stop = threading.Event()
    stop.set()
    with pytest.raises(PellucidError, match="cannot be read"):
        read_address("http://127.0.0.1:1/a.png", stop)  # no server runs on this port
