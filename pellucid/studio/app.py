"""The application of `pellucid studio`: the files of the page, and a WebSocket with one session for each tab."""

import mimetypes
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from anyio import CapacityLimiter, get_cancelled_exc_class
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_MESSAGE_BYTES
from pellucid.base.text import printable
from pellucid.studio.runs import MODEL_SUFFIXES
from pellucid.studio.serve.limits import OnlyFrom, OnlyWithCookie, RefusedError, UploadReader, refusal
from pellucid.studio.session import VIEWS, Session
from pellucid.studio.view import Library

PAGE = Path(__file__).parent / "web"
MAX_FILE_NAME = 100  # characters of the name of a dropped file
TOO_BIG = 1009  # WebSocket close code for a message that is too big
mimetypes.add_type("text/javascript", ".js")  # some machines map it to text/plain, which no browser runs as a module


def application(library: Library, hosts: Collection[str], token: str, cookie: str) -> Starlette:
    """Return the application; hosts: see `OnlyFrom`; token, cookie: see `OnlyWithCookie`."""

    threads = CapacityLimiter(os.cpu_count() or 1)  # more threads would only wait for each other
    uploads = UploadReader()

    async def talk(socket: WebSocket) -> None:
        """Reply to each message of a tab with one message, in order, until the tab closes."""
        await socket.accept()
        session = Session(library)
        # The server cancels this task when it ends, so that it does not wait for a slow answer.
        with suppress(WebSocketDisconnect, get_cancelled_exc_class()):
            while (message := await socket.receive())["type"] != "websocket.disconnect":
                data = message.get("bytes") or (message.get("text") or "").encode()
                await socket.send_bytes(await run_sync(session.answer, data, limiter=threads))
                if len(data) > MAX_MESSAGE_BYTES:
                    await socket.close(TOO_BIG)
                    return

    async def upload(request: Request) -> Response:
        """Store the picture in the body of POST /upload?name=FILE, and return the id by which messages refer to it."""
        file = printable(request.query_params.get("name", ""))[:MAX_FILE_NAME]
        try:
            async with uploads.picture(request) as body:
                name, line = await run_sync(library.uploads.add, body, file, limiter=threads)
        except RefusedError as error:
            return refusal(error)
        except PellucidError as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"upload": name, "line": line})

    async def add_model(request: Request) -> Response:
        """Store the file in the body of POST /model?name=FILE, and return the name by which messages refer to it."""
        name = request.query_params.get("name", "")
        suffix = Path(name).suffix.lower()
        is_name = name.isprintable() and len(name) <= MAX_FILE_NAME and suffix in MODEL_SUFFIXES
        if not is_name:
            return refusal(RefusedError(415, f"give a file of a model, with the suffix {', '.join(MODEL_SUFFIXES)}"))
        path = library.files.new_path(suffix)
        try:
            async with uploads.model(request, path):
                model, line = await run_sync(library.files.add, Path(name).name, path, limiter=threads)
        except RefusedError as error:
            return refusal(error)
        return JSONResponse({"model": model, "line": line})

    pages = [Mount(f"/{view.name}", StaticFiles(directory=view.page)) for view in VIEWS.values()]
    return Starlette(
        routes=[
            WebSocketRoute("/session", talk),
            Route("/upload", upload, methods=["POST"]),
            Route("/model", add_model, methods=["POST"]),
            *pages,
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ],
        middleware=[Middleware(OnlyFrom, hosts=hosts), Middleware(OnlyWithCookie, token=token, cookie=cookie)],
    )
