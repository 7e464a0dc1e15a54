"""Connections of strangers are closed in time, are limited in number, and end without a traceback."""

import inspect
import json
import logging
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
import websockets.sync.client
from starlette.applications import Starlette

from pellucid.model import Model
from pellucid.studio.app import application as studio_application
from pellucid.studio.serve import connections, limits
from pellucid.studio.serve.connections import http_server
from pellucid.studio.session import Session
from pellucid.studio.view import Library
from tests.studio.serve.test_serve import RunningServer, digit_image, encode, mnist_server  # noqa: F401  (a fixture)

PICTURE = encode(digit_image(), "JPEG")


def request_head(server: RunningServer, length: int | str = len(PICTURE), more: str = "") -> bytes:
    """Return the head of a request that sends a picture."""
    return f"POST /predict HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: {length}\r\n{more}\r\n".encode()


def connect(server: RunningServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def received(client: socket.socket) -> bytes:
    """Return all bytes until the server closes the connection."""
    data = b""
    try:
        while part := client.recv(1 << 16):
            data += part
    except ConnectionResetError:  # the server closed it before it had read everything
        return data
    return data


def answer(client: socket.socket) -> bytes:
    """Return one response, after which the connection stays open."""
    data = client.recv(1 << 16)
    while not (head := re.match(rb"(?s)HTTP/1.1 .*?content-length: (\d+).*?\r\n\r\n", data)) or (
        len(data) < head.end() + int(head[1])
    ):
        data += client.recv(1 << 16)
    return data


def send_slowly(client: socket.socket, data: bytes, pause: float) -> None:
    """Send one byte after each pause, until the server closes the connection."""
    try:
        for k in range(len(data)):
            client.sendall(data[k : k + 1])
            time.sleep(pause)
    except (BrokenPipeError, ConnectionResetError):
        return


@pytest.fixture
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_HEADER_SECONDS", 0.4)
    monkeypatch.setattr(connections, "MAX_REQUEST_SECONDS", 0.8)


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.WARNING)
    yield
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info]


@pytest.mark.usefixtures("short_times")
@pytest.mark.parametrize("sent", [0, 1, 4, 20, 40, -4, -1])
def test_a_connection_without_complete_headers_is_closed(sent: int, mnist_server: RunningServer) -> None:  # noqa: F811
    with connect(mnist_server) as client:
        client.sendall(request_head(mnist_server)[:sent])
        start = time.monotonic()
        assert received(client).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - start < 5
    assert mnist_server.predict(PICTURE)[0] == 200


@pytest.mark.parametrize(
    "data",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
     b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"a" * 100_000],
)  # fmt: skip
def test_what_is_no_request_is_answered_as_other_errors(data: bytes, mnist_server: RunningServer) -> None:  # noqa: F811
    with connect(mnist_server) as client:
        client.sendall(data + b"\r\n\r\n")
        head, _, body = received(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert list(json.loads(body)) == ["error"]
    assert mnist_server.predict(PICTURE)[0] == 200


@pytest.mark.usefixtures("short_times")
def test_a_request_of_single_bytes_is_closed(mnist_server: RunningServer) -> None:  # noqa: F811
    for data in (request_head(mnist_server), request_head(mnist_server) + bytes(1000)):
        is_body = data.endswith(b"\0")
        with connect(mnist_server) as client:
            start = time.monotonic()
            if is_body:
                client.sendall(request_head(mnist_server))
            send_slowly(client, data[-1000:], 0.02)
            assert time.monotonic() - start < 5
            received(client)
    assert mnist_server.predict(PICTURE)[0] == 200


@pytest.mark.usefixtures("short_times")
@pytest.mark.parametrize("sent", [0, 1, 100])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_that_stops_is_closed(sent: int, chunked: bool, mnist_server: RunningServer) -> None:  # noqa: F811
    head = request_head(mnist_server)
    body = PICTURE[:sent]
    if chunked:
        head = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
        body = f"{len(PICTURE):x}\r\n".encode() + body
    with connect(mnist_server) as client:
        client.sendall(head + body)
        assert received(client).startswith(b"HTTP/1.1 408 ")
    assert mnist_server.predict(PICTURE)[0] == 200


@pytest.mark.usefixtures("short_times")
def test_a_second_request_of_a_connection_has_the_same_limits(mnist_server: RunningServer) -> None:  # noqa: F811
    head = request_head(mnist_server)
    with connect(mnist_server) as client:
        for _ in range(3):  # requests in time, each with a pause
            client.sendall(head[:30])
            time.sleep(0.1)
            client.sendall(head[30:] + PICTURE[:50])
            time.sleep(0.3)
            client.sendall(PICTURE[50:])
            time.sleep(0.2)
            assert answer(client).startswith(b"HTTP/1.1 200 ")
        client.sendall(head + PICTURE + head[:30])
        assert received(client).startswith(b"HTTP/1.1 200 ")
    with connect(mnist_server) as client:
        client.sendall(head + PICTURE)
        assert answer(client).startswith(b"HTTP/1.1 200 ")
        client.sendall(head[:30])
        assert received(client).startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("short_times")
@pytest.mark.parametrize("sent", [0, pytest.param(3, marks=pytest.mark.long)])
def test_a_request_behind_another_has_the_same_limits(sent: int, mnist_server: RunningServer) -> None:  # noqa: F811
    """Both arrive at once; the second is read after the response to the first."""
    with connect(mnist_server) as client:
        client.sendall(request_head(mnist_server) + PICTURE + request_head(mnist_server) + PICTURE[:sent])
        answer = received(client)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 408 " in answer
    with connect(mnist_server) as client:  # two whole requests
        client.sendall((request_head(mnist_server) + PICTURE) * 2)
        assert received(client).count(b"HTTP/1.1 200 ") == 2


def test_connections_are_limited(mnist_server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 20)
    clients = [connect(mnist_server) for _ in range(60)]
    refused = [client for client in clients[20:] if received(client).startswith(b"HTTP/1.1 503 ")]
    assert len(refused) == 40
    clients[0].sendall(request_head(mnist_server) + PICTURE)
    assert answer(clients[0]).startswith(b"HTTP/1.1 200 ")
    for client in clients:
        client.close()
    deadline = time.monotonic() + 10
    while len(mnist_server.server.server_state.connections) > 19 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert mnist_server.predict(PICTURE)[0] == 200


@pytest.mark.parametrize("sent", [0, 1, 50, 100])
def test_a_dropped_upload_leaves_nothing(sent: int, mnist_server: RunningServer) -> None:  # noqa: F811
    for _ in range(5):
        with connect(mnist_server) as client:
            client.sendall(request_head(mnist_server) + PICTURE[:sent])
            time.sleep(0.02)
    assert mnist_server.predict(PICTURE)[0] == 200


def test_unfinished_uploads_are_limited_together(
    mnist_server: RunningServer,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_UPLOADS_MEMORY", 1_000_000)
    clients = [connect(mnist_server) for _ in range(30)]
    for client in clients:
        client.sendall(request_head(mnist_server, 200_000) + bytes(100_000))
        client.settimeout(0.2)
    refused = 0
    for client in clients:
        try:
            refused += client.recv(1 << 16).startswith(b"HTTP/1.1 503 ")
        except TimeoutError:
            continue
    assert refused >= 20
    for client in clients:
        client.close()
    deadline = time.monotonic() + 10
    while mnist_server.server.server_state.connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert mnist_server.predict(PICTURE)[0] == 200


def studio_server() -> tuple[Starlette, socket.socket, str, str]:
    listening = socket.create_server(("127.0.0.1", 0))
    host = f"127.0.0.1:{listening.getsockname()[1]}"
    token = secrets.token_urlsafe()
    return studio_application(Library(("mnist-lenet",), Model.load), (host,), token, "test"), listening, host, token


@contextmanager
def studio() -> Iterator[tuple[str, dict[str, str]]]:
    """The host of a running studio, and the headers with which it accepts requests."""
    app, listening, host, token = studio_server()
    server = http_server(app, lifespan="off")
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    with socket.create_connection(listening.getsockname(), timeout=20) as client:
        client.sendall(f"GET /?token={token} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        cookie = re.search(rb"test=([\w-]+)", received(client))
        assert cookie is not None
    yield host, {"Cookie": f"test={cookie[1].decode()}", "Origin": f"http://{host}"}
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("waiting", [0, 1, 3])
def test_a_tab_stays_connected_while_requests_wait_behind_a_slow_one(
    waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_: Session, data: bytes) -> bytes:
        time.sleep(1.2 if data == b"0" else 0)
        return data

    monkeypatch.setattr(Session, "answer", slow)
    defaults = list(uvicorn.Config.__init__.__defaults__ or ())  # as 20 s each, which no test can wait for
    names = list(inspect.signature(uvicorn.Config.__init__).parameters)[-len(defaults) :]
    short = tuple(0.2 if name.startswith("ws_ping") else value for name, value in zip(names, defaults, strict=True))
    monkeypatch.setattr(uvicorn.Config.__init__, "__defaults__", short)
    numbers = [str(k).encode() for k in range(waiting + 1)]
    with (
        studio() as (host, headers),
        websockets.sync.client.connect(f"ws://{host}/session", additional_headers=headers) as tab,
    ):
        for number in numbers:
            tab.send(number)
            time.sleep(0.1)
        assert [tab.recv(timeout=20) for _ in numbers] == numbers


@pytest.mark.usefixtures("short_times")
def test_the_studio_keeps_its_tabs_and_drops_other_connections() -> None:
    with (
        studio() as (host, headers),
        websockets.sync.client.connect(f"ws://{host}/session", additional_headers=headers) as tab,
    ):
        address = ("127.0.0.1", int(host.partition(":")[2]))
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        for sent in (0, 1, 100):  # uploads that are dropped, and uploads that stop
            head = f"POST /upload HTTP/1.1\r\nHost: {host}\r\n{more}Content-Length: {len(PICTURE)}\r\n\r\n".encode()
            with socket.create_connection(address, timeout=20) as client:
                client.sendall(head + PICTURE[:sent])
                time.sleep(0.02)
            with socket.create_connection(address, timeout=20) as client:
                client.sendall(head + PICTURE[:sent])
                assert received(client).startswith(b"HTTP/1.1 408 ")
        tab.send('{"type": "explain.open"}')
        assert tab.recv(timeout=60)
