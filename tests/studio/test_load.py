"""Many clients of `pellucid studio`, some dropped and some slow, leave no files, threads or memory in the server."""

import asyncio
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.studio.messages import pack
from tests.studio.collected import frame
from tests.studio.talk import parsed
from tests.studio.test_command import Started, studio

websockets = pytest.importorskip("websockets.asyncio.client", reason="websockets is not installed")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="files and memory are read from /proc"),
]
DROPPED, AT_ONCE, SLOW = 1000, 25, 10
PICTURE = torch.randint(256, (28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
OPEN = pack("draw.open", 1, {}, {})
DRAWN = pack("draw.run", 2, {"label": 1}, {"picture": PICTURE})


BEGUN, FRAMES = 200, 1000  # frames of a film after which the memory is compared
FILM = [frame(shape, 1, number) for shape in ("circle", "square") for number in range(40)]  # as the tests' camera


class Server:
    """A started server: connections to it, and its memory, files and threads as given by the system."""

    def __init__(self, started: Started) -> None:
        self.process, self.where = Path(f"/proc/{started.process.pid}"), f"ws://{started.host}/session"
        with urllib.request.urlopen(started.address, timeout=30) as opened:
            cookie = opened.headers["Set-Cookie"].split(";")[0]
        self.options: dict[str, Any] = {
            "origin": f"http://{started.host}", "additional_headers": {"Cookie": cookie}, "compression": None,
            "max_size": None,
        }  # fmt: skip

    def connect(self) -> Any:
        return websockets.connect(self.where, **self.options)

    @property
    def memory(self) -> float:
        """The resident memory in MB."""
        return int((self.process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def files(self) -> int:
        return len(list((self.process / "fd").iterdir()))

    @property
    def threads(self) -> int:
        return len(list((self.process / "task").iterdir()))

    def settled(self, is_settled: Callable[[], bool]) -> bool:
        """Wait up to a minute until a condition is true; return whether it is."""
        end = time.monotonic() + 60
        while not is_settled() and time.monotonic() < end:
            time.sleep(0.1)
        return is_settled()


async def drop(server: Server, number: int) -> None:
    """Open a session and drop it: before a request, before or after its answer, or in the middle of a message."""
    tab = await server.connect()
    if number % 4:
        await tab.send(OPEN)
    if number % 4 == 2:
        await tab.recv()
    if number % 4 == 3:
        tab.transport.write(b"\x82\xfe\xff\xff")  # the header of a message that never follows
    tab.transport.abort()


async def drop_all(server: Server, count: int) -> None:
    for start in range(0, count, AT_ONCE):
        await asyncio.gather(*(drop(server, start + k) for k in range(AT_ONCE)))


async def draw(server: Server, times: int) -> list[list[float]]:
    """Send a drawing `times` times; return the probabilities in each answer."""
    async with server.connect() as tab:
        await tab.send(OPEN)
        await tab.recv()
        for _ in range(times):
            await tab.send(DRAWN)
        return [parsed(await tab.recv())[0]["probabilities"] for _ in range(times)]


async def stall(server: Server, seconds: float) -> None:
    """Send many requests and read no answer, for some seconds."""
    tab = await server.connect()
    tab.transport.pause_reading()
    for _ in range(200):
        await tab.send(OPEN)
    await asyncio.sleep(seconds)
    tab.transport.abort()


@pytest.mark.heavy
def test_1000_dropped_and_10_slow_clients_leave_no_threads_or_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    # Return freed memory to the system, so the test does not measure the peak.
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"):
        monkeypatch.setenv(name, "65536")
    with studio() as started:
        server = Server(started)

        async def mixed(dropped: int) -> list[Any]:
            slow = [asyncio.create_task(stall(server, 5)) for _ in range(SLOW)]
            _, *drawings = await asyncio.gather(drop_all(server, dropped), *(draw(server, 5) for _ in range(50)), *slow)
            return drawings[:50]

        files = server.files
        for _ in range(2):  # load everything that is loaded only once
            asyncio.run(mixed(100))
        assert server.settled(lambda: server.files <= files + 1)
        before, threads = server.memory, server.threads
        drawings = asyncio.run(mixed(DROPPED))
        assert all(drawing == drawings[0][:1] * 5 for drawing in drawings)
        assert server.settled(lambda: server.files <= files + 1)
        assert server.threads <= threads
        assert server.settled(lambda: server.memory - before < 20), server.memory - before
        started.process.send_signal(signal.SIGINT)
        assert started.process.wait(20) in {0, 130}


@pytest.mark.heavy
def test_memory_is_flat_over_the_frames_of_a_film_in_look_and_teach() -> None:
    with studio("bccd") as started:
        server = Server(started)
        maps = [["Features", "1"]]
        opening = [pack("look.open", 0, {"model": "bccd"}, {}), pack("gestures.open", 0, {}, {})]
        for name in ("circle", "square"):
            opening.append(pack("gestures.edit", 0, {"name": None, "becomes": name}, {}))
            shots = [frame(name, 1, number) for number in range(20)]
            opening += [pack("gestures.collect", 0, {"name": name, "stretch": 0}, {"frame": shot}) for shot in shots]
        opening.append(pack("gestures.fit", 0, {}, {}))

        async def memory_of(kind: str, fields: dict[str, Any]) -> list[float]:
            """Return the memory in MB after BEGUN and after FRAMES frames."""
            found: list[float] = []
            async with server.connect() as tab:
                for request in opening:
                    await tab.send(request)
                    assert parsed(await tab.recv())[0]["kind"] != "error"
                for number in range(FRAMES):
                    await tab.send(pack(kind, number, fields, {"frame": FILM[number % len(FILM)]}))
                    assert parsed(await tab.recv())[0]["kind"] == kind
                    if number + 1 in (BEGUN, FRAMES):
                        found.append(server.memory)
            return found

        for kind, fields in (("look.picture", {"maps": maps}), ("gestures.predict", {})):
            before, after = asyncio.run(memory_of(kind, fields))
            assert after < before + 24, (kind, before, after)
            print(f"{kind}: {before:.0f} MB after {BEGUN} frames, {after:.0f} MB after {FRAMES}")
