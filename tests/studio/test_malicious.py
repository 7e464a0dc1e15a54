"""Malicious input: decompression bombs, files that are no pictures, and 1,000 malformed messages over one socket."""

import io
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from starlette.testclient import TestClient

from pellucid.base.limits import MAX_MESSAGE_BYTES
from pellucid.model import Model
from pellucid.studio.app import application
from pellucid.studio.messages import pack
from pellucid.studio.runs import Runs
from pellucid.studio.session import REQUESTS
from pellucid.studio.view import Library
from tests.studio.talk import parsed
from tests.studio.test_security import COOKIE, HOST, TOKEN

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = zlib.compress(bytes(4 * 13))  # 4 x 4 pixels in RGB
ZEROS = zlib.compress(bytes(90_000_000), 9)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, colour: int = 2) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return SIGNATURE + header + b"".join(chunks) + chunk(b"IEND", b"")


def encoded(form: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(buffer, form)
    return buffer.getvalue()


JPEG = encoded("JPEG")
SIZE = JPEG.index(b"\xff\xc0") + 5  # position of height and width
REFUSED = {
    "more pixels than memory": png(50_000, 50_000, chunk(b"IDAT", PIXELS)),
    "the most pixels": png(2**31 - 1, 2**31 - 1, chunk(b"IDAT", PIXELS)),
    "just too many pixels": png(5000, 2501, chunk(b"IDAT", PIXELS)),
    "no pixels": png(0, 0, chunk(b"IDAT", b"")),
    "a bomb in a text": png(4, 4, chunk(b"zTXt", b"a\0\0" + ZEROS), chunk(b"IDAT", PIXELS)),
    "a bomb in a profile": png(4, 4, chunk(b"iCCP", b"a\0\0" + ZEROS), chunk(b"IDAT", PIXELS)),
    "many texts": png(4, 4, *[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000)))] * 80, chunk(b"IDAT", PIXELS)),
    "a wrong checksum": png(4, 4, chunk(b"IDAT", PIXELS)).replace(b"IDAT", b"IDAS"),
    "no palette": png(4, 4, chunk(b"IDAT", PIXELS), colour=3),
    "a page behind a signature": SIGNATURE + b"<script>alert(1)</script>",
    "a JPEG of many pixels": JPEG[:SIZE] + struct.pack(">HH", 65500, 65500) + JPEG[SIZE + 4 :],
    "half a JPEG": JPEG[: SIZE + 15],
    "the head of a JPEG": b"\xff\xd8\xff" + bytes(300),
    "the head of a WebP": b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(200),
    "a WebP of many pixels": b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0" + b"\xff" * 10,
    "a drawing with a script": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "a path": b"../../etc/passwd",
    "a pickle": b"\x80\x04cos\nsystem\n(S'touch written'\ntR.",
    "an archive": b"PK\3\4" + bytes(99),
    "a document": b"%PDF-1.4",
    "a TIFF": encoded("TIFF"),
    "a GIF": encoded("GIF"),
    "a PPM": encoded("PPM"),
}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """A library in an empty folder, in which nothing may be written."""
    monkeypatch.chdir(tmp_path)
    return Library(("mnist-lenet",), Model.load, Runs())


@pytest.fixture
def opened(library: Library, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(application(library, (HOST,), TOKEN, COOKIE), base_url=f"http://{HOST}") as client:
        client.get(f"/?token={TOKEN}")
        yield client
    assert [*tmp_path.rglob("*")] == []


@pytest.mark.parametrize("what", REFUSED)
def test_an_upload_is_refused(what: str, opened: TestClient, library: Library) -> None:
    response = opened.post("/upload", content=REFUSED[what])
    assert response.status_code in {400, 413, 415}
    assert "\n" not in response.json()["error"]
    assert library.uploads.names() == {}


def test_an_upload_in_parts_ends_at_the_limit(opened: TestClient, library: Library) -> None:
    sent = list[int]()

    def parts() -> Iterator[bytes]:
        yield SIGNATURE
        for k in range(50):
            sent.append(k)
            yield bytes(1_000_000)

    assert opened.post("/upload", content=parts()).status_code == 413
    assert library.uploads.names() == {}


def test_nothing_is_decoded_above_the_limit_of_pixels(opened: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, load = [], PngImageFile.load
    monkeypatch.setattr(PngImageFile, "load", lambda self: (decoded.append(self.size), load(self))[1])
    for name in ("more pixels than memory", "the most pixels", "just too many pixels"):
        assert opened.post("/upload", content=REFUSED[name]).status_code == 413
    assert decoded == []
    assert opened.post("/upload", content=png(4, 4, chunk(b"IDAT", PIXELS))).status_code == 200
    assert (4, 4) in decoded


def test_each_of_1000_malformed_messages_is_answered_by_an_error(opened: TestClient) -> None:
    rng, kinds = random.Random(0), [*REQUESTS]
    good = [pack(kind, 1, {}, {}) for kind in kinds]

    def broken() -> bytes:
        one = rng.choice(good)
        return rng.choice([
            lambda: rng.randbytes(rng.randrange(400)),
            lambda: one[: rng.randrange(len(one))],
            lambda: one + rng.randbytes(1 + rng.randrange(9)),
            lambda: bytes([one[0] ^ (1 + rng.randrange(255))]) + one[1:],  # the length of the header
            lambda: pack(rng.choice(kinds) + rng.choice(("x", ".", "\0", "/../")), 1, {}, {}),
            lambda: pack(rng.choice(kinds), 1, {"../x": 1}, {}),
            lambda: pack(rng.choice(kinds), rng.choice((-1, None, "1", 2**40)), {}, {}),  # pyright: ignore[reportArgumentType]
        ])()  # fmt: skip

    headers = {"Origin": f"http://{HOST}", "Cookie": f"{COOKIE}={opened.cookies[COOKIE]}"}
    with opened.websocket_connect(f"ws://{HOST}/session", headers=headers) as socket:
        answers = []
        for _ in range(1000):
            socket.send_bytes(broken())
            answers.append(parsed(socket.receive_bytes())[0])
        assert {answer["kind"] for answer in answers} == {"error"}
        assert not [answer for answer in answers if "fault" in answer["message"] or "\n" in answer["message"]]
        socket.send_bytes(good[0])
        assert parsed(socket.receive_bytes())[0]["kind"] == "studio.open"
        socket.send_bytes(bytes(MAX_MESSAGE_BYTES + 1))
        assert parsed(socket.receive_bytes())[0]["kind"] == "error"
        assert socket.receive()["type"] == "websocket.close"
