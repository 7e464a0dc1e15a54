"""The HTTP server of `pellucid serve` and the studio, with limits on connections and on the time of a request."""

import asyncio
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from pellucid.base.limits import MAX_CONNECTIONS, MAX_HEADER_SECONDS, MAX_REQUEST_SECONDS


def http_server(app: ASGIApp, **options: Any) -> uvicorn.Server:
    """Return the server of an application; options: those of uvicorn.Config.

    A WebSocket gets no pings: while a request waits behind a slow one, uvicorn does not read the replies to them, and
    would close the connection. On this machine, a lost client closes its socket.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=LimitedConnection,
            ws_ping_interval=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            **options,
        )
    )


class LimitedConnection(H11Protocol):
    """Connection that is closed if a request takes longer than the limits to arrive, or if there are too many others.

    uvicorn itself limits only the time between two requests.
    """

    _timer: asyncio.TimerHandle | None = None
    _awaits_body = False  # whether the timer is that of the body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or close it if there are MAX_CONNECTIONS."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse("503 Service Unavailable", "too many connections; try again later")
        else:
            self._start_timer(MAX_HEADER_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Read a part of a request, and limit the time in which the next part must arrive."""
        if self._timer is None:
            self._start_timer(MAX_HEADER_SECONDS)
        super().data_received(data)
        if self.transport.get_protocol() is not self:  # it belongs to a WebSocket now, which has no limit of time
            self._stop_timer()
            return
        has_headers = self.conn.their_state is h11.SEND_BODY
        if has_headers and not self._awaits_body:
            self._start_timer(MAX_REQUEST_SECONDS)
        elif not has_headers and self.conn.their_state is not h11.IDLE:  # the request is complete
            self._stop_timer()
        self._awaits_body = has_headers

    def on_response_complete(self) -> None:
        """End a response, after which the next request may be in what was received with the one before."""
        super().on_response_complete()
        if self._timer is None and self.conn.their_state is h11.SEND_BODY:
            self._awaits_body = True
            self._start_timer(MAX_REQUEST_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP."""
        self._refuse("400 Bad Request", "this is no valid HTTP request")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self._refuse, "408 Request Timeout", "the request took too long")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: str, reason: str) -> None:
        """Close the connection, with a response unless one has begun."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = f'{{"error": "{reason}"}}'
            head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
            self.transport.write(f"{head}\r\nconnection: close\r\n\r\n{body}".encode())
        self.transport.close()
