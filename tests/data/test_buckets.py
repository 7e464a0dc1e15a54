"""Pictures of an S3 bucket, read by s3fs from a local server that implements part of the S3 protocol."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from pellucid.base.errors import PellucidError
from pellucid.data import addresses
from pellucid.data.picture_list import picture_list

# s3fs needs python-dateutil below 3, which conflicts with constraints.txt, so `make test` cannot install it.
pytest.importorskip("s3fs", reason="s3fs is not installed")


class Bucket(BaseHTTPRequestHandler):
    """A server of one bucket with ListObjectsV2 (two keys per page), HeadObject and GetObject."""

    objects: ClassVar[dict[str, bytes]] = {f"photos/{k}.png": bytes([k]) * (k + 1) for k in range(5)} | {
        "photos/notes.txt": b"text",
        "other/9.png": b"9",
    }

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.respond(body=False)

    def do_GET(self) -> None:
        self.respond(body=True)

    def respond(self, body: bool) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        key = unquote(parts.path).removeprefix("/bucket").lstrip("/")
        if not key:
            self.send_response_with(200, self.list_page(query), "application/xml", body)
        elif key in self.objects:
            data, status = self.objects[key], 200
            if "Range" in self.headers:
                first, last = self.headers["Range"].removeprefix("bytes=").split("-")
                data, status = data[int(first) : int(last or len(data)) + 1], 206
            self.send_response_with(status, data, "image/png", body)
        else:
            self.send_response_with(404, b"<Error><Code>NoSuchKey</Code></Error>", "application/xml", body)

    def list_page(self, query: dict[str, str]) -> bytes:
        keys = sorted(key for key in self.objects if key.startswith(query.get("prefix", "")))
        first = int(query.get("continuation-token", "0"))
        page_keys, has_more = keys[first : first + 2], first + 2 < len(keys)
        date = "<LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        rows = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(self.objects[key])}</Size>{date}</Contents>" for key in page_keys
        )
        token = f"<NextContinuationToken>{first + 2}</NextContinuationToken>" if has_more else ""
        return (
            f"<ListBucketResult><IsTruncated>{str(has_more).lower()}</IsTruncated><KeyCount>{len(page_keys)}</KeyCount>"
            f"{token}{rows}</ListBucketResult>"
        ).encode()

    def send_response_with(self, status: int, data: bytes, kind: str, body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", '"0"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import fsspec

    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = {"anon": True, "endpoint_url": f"http://127.0.0.1:{server.server_port}"}
        monkeypatch.setitem(fsspec.config.conf, "s3", settings)
        addresses._file_system.cache_clear()
        yield
        addresses._file_system.cache_clear()
        server.shutdown()


def test_pictures_of_a_bucket_are_listed_and_read(bucket: None) -> None:
    pictures = picture_list("s3://bucket/photos")
    assert [pictures.name(k) for k in range(len(pictures))] == [f"s3://bucket/photos/{k}.png" for k in range(5)]
    assert [read() for read in pictures.contents(range(5))] == [bytes([k]) * (k + 1) for k in range(5)]
    with pytest.raises(PellucidError, match=r"s3://bucket/none\.png cannot be read"):
        picture_list("s3://bucket/none.png").read(0)
    with pytest.raises(PellucidError, match=r"contains no pictures|cannot be read"):
        picture_list("s3://bucket/nothing")
