"""Measure the studio's response time to drawings of 50 clients, two per second: `python -m benchmarks.studio_clients`.

It is the time from a client's message with a drawing to the server's complete response with the predictions. The
clients measure it in this process, and the server runs in another process on the same machine.
"""

import asyncio
import random
import statistics
import sys
import time

import torch

from pellucid.studio.messages import pack
from tests.studio.test_command import studio
from tests.studio.test_load import Server

N_CLIENTS, PERIOD_SECONDS, SECONDS, WARM_SECONDS = (
    50,
    0.5,
    20.0,
    5.0,
)  # PERIOD_SECONDS: between two drawings of a client; WARM_SECONDS: start of SECONDS, not measured
PICTURE = torch.randint(256, (28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


async def draw(server: Server, model: str, number: int) -> list[float]:
    """Send drawings for SECONDS; return the response times in seconds. number: the index of the client."""
    first_pause, seconds = random.Random(number).random() * PERIOD_SECONDS, list[float]()
    async with server.connect() as tab:
        await tab.send(pack("draw.open", 1, {"model": model}, {}))
        await tab.recv()
        await asyncio.sleep(first_pause)
        start = time.perf_counter()
        for index in range(round(SECONDS / PERIOD_SECONDS)):
            await asyncio.sleep(max(0.0, start + index * PERIOD_SECONDS - time.perf_counter()))
            sent = time.perf_counter()
            await tab.send(pack("draw.run", 2, {"label": 1}, {"picture": PICTURE}))
            await tab.recv()
            if sent - start > WARM_SECONDS:
                seconds.append(time.perf_counter() - sent)
    return seconds


async def draw_all(server: Server, model: str, clients: int) -> list[float]:
    """Return the response times of all clients, which draw simultaneously, in seconds."""
    return [
        seconds
        for client_seconds in await asyncio.gather(*(draw(server, model, k) for k in range(clients)))
        for seconds in client_seconds
    ]


def main(*models: str) -> None:
    """Print the median and the 99th percentile of the response times with one client and with N_CLIENTS."""
    for model in models:
        for clients in (1, N_CLIENTS):
            with studio() as started:
                seconds = asyncio.run(draw_all(Server(started), model, clients))
            median, p99 = 1000 * statistics.median(seconds), 1000 * statistics.quantiles(seconds, n=100)[-1]
            print(f"{model}, {clients} clients, {len(seconds)} drawings: median {median:.1f} ms, p99 {p99:.1f} ms")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["mnist-mlp-100", "mnist-lenet"]))
