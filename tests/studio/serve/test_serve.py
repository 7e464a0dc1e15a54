"""`pellucid serve` answers predictions over HTTP, only to this machine and within limits."""

import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.base.limits import MAX_UPLOAD_BYTES
from pellucid.data.samples.cells import blood_smear
from pellucid.data.samples.scenes import street
from pellucid.model import Model
from pellucid.studio.serve.app import application
from pellucid.studio.serve.connections import http_server
from pellucid.studio.serve.limits import HEADERS

ROUTES = (("GET", "/"), ("GET", "/about"), ("GET", "/page.js"), ("GET", "/page.css"), ("POST", "/predict"))


def encode(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def digit_image() -> Image.Image:
    return Image.fromarray(np.pad(np.full((20, 3), 255, np.uint8), ((4, 4), (12, 13))))


def png_with_declared_size(width: int, height: int) -> bytes:
    """Return a PNG file whose header declares a size that it does not have."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IEND"
    )


class RunningServer:
    """A server in a thread, with methods that send requests to it."""

    def __init__(self, name: str) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        app = application(name, Model.load(name), (self.host, f"localhost:{self.port}"))
        self.server = http_server(app)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listening]}, daemon=True)
        self.thread.start()

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(method, path, skip_host=True)
        for name, value in {"Host": self.host, "Content-Length": str(len(body)), **headers}.items():
            connection.putheader(name, value)
        # The server may answer before it has read a body that is too long.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.endheaders(body)
        response = connection.getresponse()
        result = response.status, dict(response.getheaders()), response.read()
        connection.close()
        return result

    def predict(self, body: bytes) -> tuple[int, Any]:
        status, _, data = self.request("POST", "/predict", body)
        return status, json.loads(data)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)


@pytest.fixture(scope="module")
def mnist_server() -> Iterator[RunningServer]:
    server = RunningServer("mnist-lenet")
    yield server
    server.close()


def test_a_picture_is_answered_with_its_class(mnist_server: RunningServer) -> None:
    for kind in ("PNG", "JPEG", "WebP"):
        status, result = mnist_server.predict(encode(digit_image(), kind))
        assert (status, result["label"]) == (200, "1"), result
    assert json.loads(mnist_server.request("GET", "/about")[2])["task"] == "classification"
    status, _, page = mnist_server.request("GET", "/")
    assert status == 200
    assert b'<script type="module" src="/page.js">' in page
    assert b"<script>" not in page  # the policy allows no inline script


@pytest.mark.parametrize(("name", "picture", "key"), [("bccd", blood_smear, "boxes"), ("camvid", street, "picture")])
def test_pictures_are_answered_with_boxes_and_masks(name: str, picture: Any, key: str) -> None:
    server = RunningServer(name)
    try:
        status, result = server.predict(encode(picture(0)[0], "JPEG"))
    finally:
        server.close()
    assert status == 200
    assert len(result[key]) > 3
    assert len(result["labels"]) > 3


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_other_hosts_and_origins_are_refused_on_every_route(
    method: str, path: str, mnist_server: RunningServer
) -> None:
    own = mnist_server.host
    for host in (
        "evil.example",
        f"evil.example:{mnist_server.port}",
        "127.0.0.1",
        f"127.0.0.1:{mnist_server.port + 1}",
        "",
    ):
        assert mnist_server.request(method, path, Host=host)[0] == 403
    for origin in ("http://evil.example", "https://" + own, "null", f"http://{own}.evil.example", f"http://{own}@evil"):
        assert mnist_server.request(method, path, Origin=origin)[0] == 403
    status, headers, _ = mnist_server.request(method, path, Origin=f"http://{own}")
    assert status in {200, 415}
    assert {name.lower(): value for name, value in HEADERS.items()}.items() <= {
        name.lower(): value for name, value in headers.items()
    }.items()


def test_invalid_uploads_are_refused_and_the_server_continues(mnist_server: RunningServer) -> None:
    assert mnist_server.predict(b"")[0] == 415
    assert mnist_server.predict(b"GIF89a" + bytes(100))[0] == 415
    assert mnist_server.predict(encode(digit_image(), "BMP"))[0] == 415
    assert mnist_server.predict(png_with_declared_size(30_000, 30_000))[0] in {400, 413}
    status, actual = mnist_server.predict(bytes(MAX_UPLOAD_BYTES + 1))
    assert (status, "more than 10,000,000 bytes" in actual["error"]) == (413, True)
    valid_png, rng = encode(digit_image()), np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(valid_png)
        for position in rng.integers(8, len(valid_png), 5):
            broken[position] = rng.integers(0, 256)
        assert mnist_server.predict(bytes(broken[: rng.integers(8, len(valid_png))]))[0] in {200, 400, 413, 415}
    for path in ("/../etc/passwd", "/page/../../app.py", "/%2e%2e/app.py", "//etc/passwd", "/predict/", "/app.py"):
        assert mnist_server.request("GET", path)[0] in {307, 404, 405}
    for path, expected in (("/predict", 405), ("/nothing", 404)):
        status, _, body = mnist_server.request("GET", path)
        assert (status, list(json.loads(body))) == (expected, ["error"])
    status, actual = mnist_server.predict(encode(digit_image(), "JPEG")[:200])
    assert (status, "the picture" in actual["error"], "/" in actual["error"]) == (400, True, False)
    assert mnist_server.predict(valid_png)[0] == 200


@pytest.mark.heavy
@pytest.mark.slow
def test_the_command_prints_its_address_and_ends_with_ctrl_c() -> None:
    command = [sys.executable, "-m", "pellucid", "serve", "mnist-lenet", "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:(\d+) ", line)
        assert match, line
        connection = http.client.HTTPConnection("127.0.0.1", int(match[1]), timeout=60)
        for _ in range(100):
            try:
                connection.request("POST", "/predict", encode(digit_image()))
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        assert json.loads(connection.getresponse().read())["label"] == "1"
        connection.close()
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode in {0, 130}
    assert "Traceback" not in errors
