"""Time `pellucid.open` against `torch.export` of the same network: `python -m benchmarks.opening`.

`pellucid.open` exports the network once, and compares the network's outputs with those of the layers on two images and
on one image of another size. The table lists the seconds of the export, of a forward pass and of `pellucid.open`: the
minimum over ROUNDS rounds, each of which runs all three.
"""

import time
import warnings
from collections.abc import Callable

import torch

import pellucid
from benchmarks.peers.opened import DEFINITIONS, definition

ROUNDS = 5


def time_call(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, images of 224 x 224")
    print("| network | export | a forward pass | open | open / export |\n|---|---:|---:|---:|---:|")
    for name in DEFINITIONS:
        network, x = definition(name).eval(), torch.rand(2, 3, 224, 224)
        works = (
            lambda network=network, x=x: torch.export.export(network, (x,), strict=False),
            torch.no_grad()(lambda network=network, x=x: network(x)),
            lambda network=network, x=x: pellucid.open(network, x),
        )
        rounds = [[time_call(work) for work in works] for _ in range(ROUNDS)]
        export, forward, opening = map(min, zip(*rounds, strict=True))
        label = name.removeprefix("opened-")
        print(f"| {label} | {export:.2f} | {forward:.2f} | {opening:.2f} | {opening / export:.2f} |", flush=True)


if __name__ == "__main__":
    main()
