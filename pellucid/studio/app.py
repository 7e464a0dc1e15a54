"""The application of `pellucid studio`: the files of the page, and a WebSocket with one session for each tab."""

import mimetypes
import os
import sys
import traceback
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from pellucid.errors import PellucidError
from pellucid.serve.limits import OnlyFrom, OnlyWithCookie
from pellucid.studio.draw import KINDS, DrawSession, Library
from pellucid.studio.messages import MAX_MESSAGE, MessageError, pack, read

PAGE = Path(__file__).parent / "web"
REQUESTS = {kind: request for kind, (request, _) in KINDS.items()}
TOO_BIG = 1009  # code of a closed WebSocket
mimetypes.add_type("text/javascript", ".js")  # some machines map it to text/plain, which no browser runs as a module


def application(library: Library, hosts: Collection[str], token: str, cookie: str) -> Starlette:
    """Return the application; hosts: see `OnlyFrom`; token, cookie: see `OnlyWithCookie`."""

    threads = CapacityLimiter(os.cpu_count() or 1)  # more of them would only wait for each other

    async def session(socket: WebSocket) -> None:
        """Reply each message of one tab by one message, in order, until the tab closes."""
        await socket.accept()
        drawing = await run_sync(DrawSession, library, limiter=threads)
        with suppress(WebSocketDisconnect):
            while (message := await socket.receive())["type"] != "websocket.disconnect":
                given = message.get("bytes") or (message.get("text") or "").encode()
                await socket.send_bytes(await run_sync(answer, drawing, given, limiter=threads))
                if len(given) > MAX_MESSAGE:
                    await socket.close(TOO_BIG)
                    return

    return Starlette(
        routes=[WebSocketRoute("/session", session), Mount("/", StaticFiles(directory=PAGE, html=True))],
        middleware=[Middleware(OnlyFrom, hosts=hosts), Middleware(OnlyWithCookie, token=token, cookie=cookie)],
    )


def answer(session: DrawSession, message: bytes) -> bytes:
    """Return the answer to a message: what it asks for, or one error."""
    number = None
    try:
        kind, number, request = read(message, REQUESTS)
        found = KINDS[kind][1](session, request)
        return pack(kind, number, found.fields, found.tensors)
    except MessageError as error:
        return pack("error", error.number, {"message": str(error)}, {})
    except PellucidError as error:
        return pack("error", number, {"message": str(error)}, {})
    except Exception as error:  # a fault of ours: the session goes on
        traceback.print_exc(file=sys.stderr)
        return pack("error", number, {"message": f"fault in the studio: {type(error).__name__}"}, {})
