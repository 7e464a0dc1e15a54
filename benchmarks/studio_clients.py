"""Measure the studio's response time to 50 clients, two requests per second: `python -m benchmarks.studio_clients`.

A client draws, moves the slider of a lesson, or takes steps in the playground. The response time is that from its
message to the server's complete response: the predictions, the numbers and the figure, or the network after the step.
The clients measure it in this process, and the server runs in another process on the same machine.
"""

import asyncio
import random
import statistics
import sys
import time
from typing import Any

import torch

from pellucid.studio.messages import pack
from tests.studio.talk import parsed
from tests.studio.test_command import studio
from tests.studio.test_load import Server

N_CLIENTS = 50
PERIOD_SECONDS = 0.5  # between two requests of a client
SECONDS = 20.0
WARM_SECONDS = 5.0  # start of SECONDS, not measured
PAUSE_SECONDS = 0.1  # before the page asks again for a step of a lesson that is being computed, as its view does
LESSON, PLAYGROUND = "learn", "play"  # kinds of clients besides those that draw for a model
PICTURE = torch.randint(256, (28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
RATES, STARTS = (0.1, 0.2, 0.33, 0.5, 0.6, 0.66, 0.68), (0.0, 0.5, 1.0)  # stops of the lesson's sliders


def opening(kind: str) -> bytes:
    """Return the first message of a client; kind: LESSON, PLAYGROUND or the name of a model."""
    if kind == LESSON:
        return pack("learn.lesson", 1, {"name": "descent"}, {})
    if kind == PLAYGROUND:
        return pack("play.open", 1, {}, {})
    return pack("draw.open", 1, {"model": kind}, {})


def request(kind: str, choice: random.Random) -> bytes:
    """Return the next message of a client."""
    if kind == LESSON:
        values = (f"rate={choice.choice(RATES)}", f"start_x={choice.choice(STARTS)}")
        return pack("learn.run", 2, {"name": "descent", "step": "rates", "values": values}, {})
    if kind == PLAYGROUND:
        return pack("play.learn", 2, {"steps": 1}, {})
    return pack("draw.run", 2, {"label": 1}, {"picture": PICTURE})


async def answered(tab: Any, message: bytes) -> None:
    """Send a message until its answer is complete; raises RuntimeError for an error of the server."""
    while True:
        await tab.send(message)
        header, _ = parsed(await tab.recv())
        if header["kind"] == "error":
            raise RuntimeError(header["message"])
        if not header.get("working"):
            return
        await asyncio.sleep(PAUSE_SECONDS)


async def client(server: Server, kind: str, number: int) -> list[float]:
    """Send requests for SECONDS; return the response times in seconds. number: the index of the client."""
    choice = random.Random(number)
    first_pause = choice.random() * PERIOD_SECONDS
    seconds = list[float]()
    async with server.connect() as tab:
        await answered(tab, opening(kind))
        await asyncio.sleep(first_pause)
        start = time.perf_counter()
        for index in range(round(SECONDS / PERIOD_SECONDS)):
            await asyncio.sleep(max(0.0, start + index * PERIOD_SECONDS - time.perf_counter()))
            sent = time.perf_counter()
            await answered(tab, request(kind, choice))
            if sent - start > WARM_SECONDS:
                seconds.append(time.perf_counter() - sent)
    return seconds


async def clients_at_once(server: Server, kind: str, count: int) -> list[float]:
    """Return the response times of `count` simultaneous clients, in seconds."""
    times = await asyncio.gather(*(client(server, kind, k) for k in range(count)))
    return [seconds for client_seconds in times for seconds in client_seconds]


def main(*kinds: str) -> None:
    """Print the median and the 99th percentile of the response times with one client and with N_CLIENTS."""
    for kind in kinds:
        for count in (1, N_CLIENTS):
            with studio() as started:
                seconds = asyncio.run(clients_at_once(Server(started), kind, count))
            median, p99 = 1000 * statistics.median(seconds), 1000 * statistics.quantiles(seconds, n=100)[-1]
            print(f"{kind}, {count} clients, {len(seconds)} requests: median {median:.1f} ms, p99 {p99:.1f} ms")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["mnist-mlp-100", "mnist-lenet", LESSON, PLAYGROUND]))
