"""A small web server for the tests of downloads."""

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATA = bytes(range(256)) * 1000
_SENT_BEFORE_DRIPPING = {
    "status": b"HTTP/1.0 20",
    "headers": b"HTTP/1.0 200 OK\r\nX-Long: ",
    "body": b"HTTP/1.0 200 OK\r\nContent-Length: 256000\r\n\r\n",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
}


@dataclass
class Site:
    """Settings of the server's responses, and the requests that it received."""

    url: str = ""
    data: bytes = DATA
    has_ranges: bool = True
    etag: str = ""
    cut_after: list[int] = field(default_factory=list)  # bytes to send before the close, for each request
    sends_length: bool = True
    status: int = 200
    redirect: str = ""
    dripped_part: str = ""  # the part of the response to send byte by byte: "status", "headers", "body" or "chunk"
    delay: float = 0.0  # seconds before the response
    requests: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def serve_site() -> Iterator[Site]:
    """Run a server on a free local port until the block ends."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.requests.append({"path": self.path, **{k: v for k, v in self.headers.items() if "ange" in k}})
            time.sleep(site.delay)
            if site.redirect and "?" not in self.path:
                self.send_response(302)
                self.send_header("Location", site.redirect)
                self.end_headers()
                return
            if site.dripped_part:
                self._send_slowly(_SENT_BEFORE_DRIPPING[site.dripped_part])
                return
            if site.status != 200:
                self.send_error(site.status)
                return
            start = int(self.headers.get("Range", "bytes=0-")[6:-1])
            is_same_version = self.headers.get("If-Range", site.etag) == site.etag
            if not (site.has_ranges and is_same_version):
                start = 0
            if start >= len(site.data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(site.data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = site.data[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(site.data) - 1}/{len(site.data)}")
            if site.sends_length:
                self.send_header("Content-Length", str(len(body)))
            if site.etag:
                self.send_header("ETag", site.etag)
            self.end_headers()
            self.wfile.write(body[: site.cut_after.pop(0)] if site.cut_after else body)

        def _send_slowly(self, before: bytes) -> None:
            """Send `before`, then single bytes until the client closes the connection."""
            with contextlib.suppress(OSError):
                self.wfile.write(before)
                for _ in range(200):
                    self.wfile.write(b"0")
                    time.sleep(0.05)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_address[1]}/file"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()
