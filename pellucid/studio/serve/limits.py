"""Checks of a request's host, origin and cookie, and of the size and format of uploads; headers of responses."""

import secrets
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_MODEL_UPLOAD_BYTES, MAX_UPLOAD_BYTES, MAX_UPLOAD_PIXELS, MAX_UPLOADS_MEMORY
from pellucid.data.images import image_size

# The accepted formats: for each, the offset and the bytes of its signature.
FORMAT_SIGNATURES = {"PNG": (0, b"\x89PNG\r\n\x1a\n"), "JPEG": (0, b"\xff\xd8\xff"), "WebP": (8, b"WEBP")}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class RefusedError(Exception):
    """A request that is refused, with the status of the response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class OnlyFrom:
    """Middleware that refuses other hosts and origins, and adds HEADERS to each response.

    A page of another site can send requests to this machine, even under its own domain name if that resolves to this
    machine. Its Host or Origin then differs from the server's. hosts: the accepted values of Host, with the port;
    None for any, if the server listens to other machines. Origin must match Host; a WebSocket must have an Origin.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request to the application, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        is_host_allowed = self.hosts is None or host in self.hosts
        needs_no_origin = origin is None and scope["type"] == "http"
        if not is_host_allowed or not (needs_no_origin or origin == f"http://{host}"):
            await _refusal_response(scope, "this host or origin is not accepted")(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)


class OnlyWithCookie:
    """Middleware that refuses requests without a cookie, which is set when the address with the `token` is opened once.

    cookie: its name, different for each port, because a browser keeps one set of cookies for all ports of a host.
    """

    def __init__(self, app: ASGIApp, token: str, cookie: str) -> None:
        self.app, self.token, self.cookie, self.key = app, token, cookie, secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request to the application, set the cookie, or refuse the request."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        if _are_equal(request.cookies.get(self.cookie, ""), self.key):
            await self.app(scope, receive, send)
            return
        is_first_visit = scope["type"] == "http" and (scope["method"], scope["path"]) == ("GET", "/")
        if is_first_visit and self.token and _are_equal(request.query_params.get("token", ""), self.token):
            self.token = ""
            response = Response()
            response.set_cookie(self.cookie, self.key, httponly=True, samesite="strict")

            async def send_with_cookie(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableHeaders(scope=message).append("Set-Cookie", response.headers["Set-Cookie"])
                await send(message)

            # Not a redirect: after a link from another site, the browser would not send the SameSite=Strict cookie. Nor
            # a header Refresh, which drops the part of the address that names a view.
            await self.app(scope, receive, send_with_cookie)
            return
        reason = (
            "open the address that the command printed; it works once, in one browser: start the command again for more"
        )
        await _refusal_response(scope, reason)(scope, receive, send)


def _are_equal(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def _refusal_response(scope: Scope, reason: str) -> ASGIApp:
    """Return the response for a refused request; a WebSocket is closed before it is accepted."""
    if scope["type"] == "websocket":
        return WebSocketClose(1008, reason)
    if "text/html" in Headers(scope=scope).get("accept", ""):  # a person reads it in the browser's window
        return PlainTextResponse(f"Refused: {reason}.", 403)
    return JSONResponse({"error": reason}, 403)


class UploadReader:
    """Reader of the files that are sent to an application; its pictures are limited to MAX_UPLOADS_MEMORY together."""

    def __init__(self) -> None:
        self.memory = 0  # bytes of all pictures that have not been answered
        self._receives_model = False

    @asynccontextmanager
    async def picture(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body of a request if it is a picture within the limits; raises RefusedError for any other body."""
        declared_length = request.headers.get("content-length", "")
        if declared_length.isdecimal() and int(declared_length) > MAX_UPLOAD_BYTES:
            raise RefusedError(413, f"the picture has more than {MAX_UPLOAD_BYTES:,} bytes; send a smaller one")
        received = bytearray()
        size = 0
        try:
            async for chunk in request.stream():
                received += chunk
                size += len(chunk)
                self.memory += len(chunk)
                if size > MAX_UPLOAD_BYTES:
                    raise RefusedError(413, f"the picture has more than {MAX_UPLOAD_BYTES:,} bytes; send a smaller one")
                if self.memory > MAX_UPLOADS_MEMORY:
                    raise RefusedError(503, "too many pictures are being sent; try again later")
            body = bytes(received)
            received.clear()
            check_picture(body)
            yield body
        except ClientDisconnect as error:  # nobody reads the answer
            raise RefusedError(400, "the connection ended before the whole picture was sent") from error
        finally:
            self.memory -= size

    @asynccontextmanager
    async def model(self, request: Request, path: Path) -> AsyncIterator[None]:
        """Write the body of a request to a file, which is removed again if the request fails.

        One file is received at a time. Raises RefusedError for a body above MAX_MODEL_UPLOAD_BYTES.
        """
        if self._receives_model:
            raise RefusedError(503, "another file of a model is being sent; try again later")
        self._receives_model = True
        size = 0
        try:
            with path.open("wb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > MAX_MODEL_UPLOAD_BYTES:
                        raise RefusedError(
                            413, f"the file has more than {MAX_MODEL_UPLOAD_BYTES:,} bytes; give its path to the studio"
                        )
                    file.write(chunk)
            yield
        except ClientDisconnect as error:
            path.unlink(missing_ok=True)
            raise RefusedError(400, "the connection ended before the whole file was sent") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            self._receives_model = False


def check_picture(body: bytes) -> None:
    """Raise RefusedError unless these are the bytes of a picture within the limits."""
    if not body:
        raise RefusedError(415, "the file is empty; give it again")
    if not any(body[start : start + len(magic)] == magic for start, magic in FORMAT_SIGNATURES.values()):
        raise RefusedError(415, f"the file is not of the formats {', '.join(FORMAT_SIGNATURES)}; give one of these")
    try:
        height, width = image_size(body, "the picture", MAX_UPLOAD_PIXELS)
    except PellucidError as error:
        raise RefusedError(400, str(error)) from error
    if height * width > MAX_UPLOAD_PIXELS:
        raise RefusedError(
            413, f"the picture has {width} x {height} pixels, above {MAX_UPLOAD_PIXELS:,}; send a smaller one"
        )


def refusal(error: Any) -> JSONResponse:
    """Return the response for a RefusedError."""
    return JSONResponse({"error": str(error)}, error.status)
