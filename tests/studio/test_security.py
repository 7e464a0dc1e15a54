"""Each route and the WebSocket of the studio refuse wrong tokens, cookies, hosts and origins, and paths outside."""

import re
import socket
import threading
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest
import uvicorn
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from pellucid.model import Model
from pellucid.studio.app import PAGE, application
from pellucid.studio.serve.limits import HEADERS
from pellucid.studio.session import VIEWS
from pellucid.studio.view import Library

HOST, TOKEN, COOKIE = "127.0.0.1:8010", "the-token", "pellucid-8010"
STUDIO = PAGE.parent
ORIGINS = [
    *("null", "http://evil.example", f"https://{HOST}", f"http://{HOST}.evil.example", f"http://{HOST}@evil.example"),
    *("http://127.0.0.1", "http://127.0.0.1:80", "http://127.0.0.1:8011", "http://localhost", "http://localhost:8010"),
    *(
        "http://0.0.0.0:8010",
        "http://[::1]:8010",
        "http://127.0.0.2:8010",
        "http://127.1:8010",
        "http://2130706433:8010",
    ),
    *("file://", "ws://127.0.0.1:8010", "wss://127.0.0.1:8010", f"HTTP://{HOST}", f"http://{HOST}/", f"http://{HOST} "),
    *(f"http://user@{HOST}", f"http://{HOST}#x", f"http://{HOST}?x", f"ftp://{HOST}", f"//{HOST}", HOST, "", "*"),
    *("chrome-extension://abc", "http://127.0.0.1:8010:8010", f"http://{HOST},http://{HOST}"),
]
FOREIGN_HOSTS = (
    "evil.example",
    "evil.example:8010",
    "127.0.0.1",
    "127.0.0.1:8011",
    "localhost",
    "0.0.0.0:8010",
    "[::1]:8010",
    "",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
FOLDERS = {"": PAGE, **{f"/{view.name}": view.page for view in VIEWS.values()}}
FILES = [
    "/",
    *(
        f"{start}/{path.relative_to(folder).as_posix()}"
        for start, folder in FOLDERS.items()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ),
]


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(("mnist-mlp-100", "mnist-lenet"), Model.load)


def client_of(library: Library) -> TestClient:
    return TestClient(application(library, (HOST, "localhost:8010"), TOKEN, COOKIE), base_url=f"http://{HOST}")


@pytest.fixture
def fresh(library: Library) -> Iterator[TestClient]:
    """A client without cookie, which has not opened the address yet."""
    with client_of(library) as client:
        yield client


@pytest.fixture
def opened(fresh: TestClient) -> TestClient:
    assert fresh.get(f"/?token={TOKEN}").status_code == 200
    return fresh


def connects(client: TestClient, **headers: str) -> bool:
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    try:
        with client.websocket_connect(f"ws://{HOST}/session", headers={"Host": HOST, "Cookie": cookies, **headers}):
            return True
    except WebSocketDisconnect:
        return False


def test_the_token_gives_a_strict_cookie_once(fresh: TestClient) -> None:
    result = fresh.get(f"/?token={TOKEN}")
    cookie = result.headers["set-cookie"]
    assert {"httponly", "samesite=strict"} <= {part.strip().lower() for part in cookie.split(";")}
    assert TOKEN not in cookie
    assert fresh.get("/").status_code == 200
    key = fresh.cookies[COOKIE]
    fresh.cookies.clear()
    refused = fresh.get(f"/?token={TOKEN}", headers={"Accept": "text/html,*/*;q=0.8"})  # as a browser asks for a page
    assert (refused.status_code, refused.headers["content-type"]) == (403, "text/plain; charset=utf-8")
    assert refused.text.startswith("Refused: open the address that the command printed")
    assert "error" in fresh.get("/main.js").json()
    fresh.cookies.set(COOKIE, key)
    assert fresh.get("/").status_code == 200


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "%00", "%F0%9F%98%80", "a" * 9000])
def test_no_other_token_opens_the_page(token: str, fresh: TestClient) -> None:
    assert fresh.get(f"/?token={token}").status_code == 403
    assert fresh.get("/", headers={"Cookie": f"{COOKIE}={token[:4000]}"}).status_code == 403
    assert "set-cookie" not in fresh.get(f"/index.html?token={TOKEN}").headers


@pytest.mark.parametrize("path", FILES)
def test_each_file_needs_the_cookie_and_the_host_of_the_studio(path: str, library: Library) -> None:
    with client_of(library) as client:
        for method in METHODS:
            assert client.request(method, path).status_code == 403
        client.get(f"/?token={TOKEN}")
        # Each host and each method; the next test combines all of them.
        for host, method in zip_longest(FOREIGN_HOSTS, METHODS, fillvalue="GET"):
            assert client.request(method, path, headers={"Host": host}).status_code == 403
        for origin in ORIGINS:
            assert client.get(path, headers={"Origin": origin}).status_code == 403, origin
        result = client.get(path, headers={"Origin": f"http://{HOST}"})
        assert result.status_code == 200
        assert {name.lower(): value for name, value in HEADERS.items()}.items() <= dict(result.headers).items()


@pytest.mark.parametrize("path", ["/", "/upload", "/session", "/draw/view.js", "/core", "/nothing"])
def test_each_method_with_each_foreign_host_or_origin_is_refused(path: str, opened: TestClient) -> None:
    for method in METHODS:
        for host in FOREIGN_HOSTS:
            assert opened.request(method, path, headers={"Host": host}).status_code == 403
            assert opened.request(method, path, headers={"Origin": f"http://{host}"}).status_code == 403


def test_the_socket_needs_the_cookie_the_host_and_the_origin(opened: TestClient) -> None:
    own = f"http://{HOST}"
    assert connects(opened, Origin=own)
    assert not connects(opened)
    assert [origin for origin in ORIGINS if connects(opened, Origin=origin)] == []
    assert [host for host in FOREIGN_HOSTS if connects(opened, Origin=f"http://{host}", Host=host)] == []
    opened.cookies.clear()
    assert not connects(opened, Origin=own)
    assert not connects(opened, Origin=own, Cookie=f"{COOKIE}=x")
    opened.get(f"/session?token={TOKEN}")
    assert not connects(opened, Origin=own)


@pytest.fixture
def address(library: Library) -> Iterator[tuple[int, str]]:
    """The port of a listening studio, and the cookie of a client that has opened its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        app = application(library, (f"127.0.0.1:{port}",), TOKEN, COOKIE)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        first = sent(port, f"/?token={TOKEN}", "")
        yield port, first.split("set-cookie: ")[1].split(";")[0]
        server.should_exit = True
        thread.join(10)


def sent(port: int, path: str, cookie: str) -> str:
    """Return the response to a GET of a path that is sent unchanged, unlike by HTTP libraries, which normalize it."""
    lines = (f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Cookie: {cookie}", "Connection: close", "", "")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("\r\n".join(lines).encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode(errors="replace")


def test_no_path_leads_out_of_the_page(address: tuple[int, str]) -> None:
    steps = ("..", "%2e%2e", "%2E.", "..%2f", "..\\", "%5c..", "....", ".%00.", "%c0%ae%c0%ae", "..;")
    ends = ("etc/passwd", "app.py", "../app.py", "draw.py", "web/../app.py", "__init__.py", "%2fetc%2fpasswd")
    starts = ("", "/draw", "/core")
    paths = [
        f"{start}{'/'.join(['', *[step] * times, end])}"
        for start in starts for step in steps for end in ends for times in (1, 3, 9)
    ]  # fmt: skip
    paths += ["//etc/passwd", "/...", "/%", "/%zz", "/" + "a" * 5000, "/C:/windows/win.ini", "/~root/.ssh/id"]
    assert len(set(paths)) > 600
    assert "HTTP/1.1 200" in sent(*address[:1], "/index.html", address[1])
    before = files_below(STUDIO)
    for path in paths:
        result = sent(address[0], path, address[1])
        assert result.split()[1] in {"400", "404", "405"}, path
        assert not re.search("root:|import ", result), path
    assert files_below(STUDIO) == before


def files_below(folder: Path) -> dict[Path, int]:
    """Return the files in and below a folder with the times of their last change."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix != ".pyc" and path.is_file()}
