"""Uploads of the studio: cookie and origin, refused files, the number of kept uploads, and their explanation."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from pellucid.model import Model
from pellucid.studio.app import application
from pellucid.studio.pictures import MAX_UPLOAD_SIDE, MAX_UPLOADS
from pellucid.studio.view import Library
from tests.studio.talk import Tab
from tests.studio.test_security import COOKIE, FOREIGN_HOSTS, HOST, ORIGINS, TOKEN

LIBRARY = Library(("mnist-lenet",), Model.load)


def encoded(width: int = 120, height: int = 90, form: str = "PNG") -> bytes:
    """Return a picture of a dark stroke on white as the bytes of a file."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[height // 6 : -height // 6, 5 * width // 12 : 7 * width // 12] = 20
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


@pytest.fixture
def opened() -> Iterator[TestClient]:
    with TestClient(application(LIBRARY, (HOST,), TOKEN, COOKIE), base_url=f"http://{HOST}") as client:
        client.get(f"/?token={TOKEN}")
        yield client


def test_an_upload_is_explained_with_its_sum(opened: TestClient) -> None:
    sent = opened.post("/upload", content=encoded(), headers={"Origin": f"http://{HOST}"}).json()
    assert sent["line"] == ""
    tab = Tab(LIBRARY)
    assert sent["upload"] in tab.ask("explain.open")["uploads"]
    answer = tab.ask("explain.picture", upload=sent["upload"])
    assert answer["label"] == "1"
    aimed = tab.ask("explain.aim")
    result = tab.ask("explain.run", method="lrp")
    assert aimed["label"] == "1"
    assert result["expected"] == pytest.approx(aimed["score"], rel=1e-5)
    assert result["sum"] == pytest.approx(float(result["tensors"]["map"].sum()), rel=1e-4)
    assert result["verdict"]["passed"] is (abs(result["sum"] / aimed["score"] - 1) <= 0.05)


def test_uploads_need_the_cookie_and_the_origin_of_the_page(opened: TestClient) -> None:
    before, body = LIBRARY.uploads.names(), encoded()
    for origin in ORIGINS:
        assert opened.post("/upload", content=body, headers={"Origin": origin}).status_code == 403, origin
    for host in FOREIGN_HOSTS:
        assert opened.post("/upload", content=body, headers={"Host": host}).status_code == 403
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert opened.request(method, "/upload").status_code in {404, 405}
    opened.cookies.clear()
    assert opened.post("/upload", content=body).status_code == 403
    assert LIBRARY.uploads.names() == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 415),
        (b"GIF89a" + bytes(100), 415),
        (encoded()[:200], 400),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), 400),
        (bytes(10_000_001), 413),
    ],
)
def test_files_that_are_not_pictures_are_refused(body: bytes, status: int, opened: TestClient) -> None:
    before = LIBRARY.uploads.names()
    response = opened.post("/upload", content=body)
    assert (response.status_code, bool(response.json()["error"])) == (status, True)
    assert ("is empty" in response.json()["error"]) == (not body)
    assert LIBRARY.uploads.names() == before


def test_the_oldest_upload_is_dropped_and_large_ones_are_reduced() -> None:
    uploads = Library((), Model.load).uploads
    first, line = uploads.add(encoded(1500, 300, "JPEG"))
    assert (line, tuple(uploads[first].shape)) == ("", (3, MAX_UPLOAD_SIDE * 300 // 1500, MAX_UPLOAD_SIDE))
    lines = [uploads.add(encoded(8, 8))[1] for _ in range(MAX_UPLOADS)]
    assert lines[:-1] == [""] * (MAX_UPLOADS - 1)
    assert lines[-1] == f"upload 1 was dropped: the studio keeps {MAX_UPLOADS} uploads"
    assert len(uploads.names()) == MAX_UPLOADS
    assert uploads["u2"].dtype == torch.uint8
    with pytest.raises(Exception, match="no upload 'u1'"):
        _ = uploads["u1"]


@pytest.mark.parametrize("file", ["face.jpg", "my photo (2).PNG", "Größe & <b>.webp", "x" * 300, "", "two\nlines.png"])
def test_an_upload_keeps_the_name_of_its_file(opened: TestClient, file: str) -> None:
    origin = {"Origin": f"http://{HOST}"}
    sent = opened.post("/upload", params={"name": file}, content=encoded(), headers=origin).json()
    expected = file[:100].replace("\n", "\\n") or f"upload {sent['upload'][1:]}"
    for view in ("look", "explain"):
        assert Tab(LIBRARY).ask(f"{view}.open")["uploads"][sent["upload"]] == expected
