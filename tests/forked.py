"""Processes that are forked from one that has imported everything, since importing takes longer than most tests."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

CONTEXT = multiprocessing.get_context("forkserver")
IMPORTED = [  # which register nothing
    *("tests.training.killed", "tests.own.killed", "tests.own.two_networks"),
    *("tests.training.parts", "tests.training.sharded", "tests.training.sharded_faults", "tests.training.divided"),
]
SECONDS = 300  # for which a process is waited for


class Ended(NamedTuple):
    """How a process ended: its exit code, what the function returned, and the traceback of what it raised."""

    code: int | None
    result: Any
    error: str


def forked(function: Callable[..., Any], *arguments: Any) -> tuple[int | None, Any]:
    """Call a function of a module in a new process; return the exit code and the result, None where there is none."""
    code, result, _ = _ended(*_started({}, function, arguments))
    return code, result


def group(count: int, function: Callable[..., Any], *arguments: Any) -> list[Ended]:
    """Call a function in several processes that are connected as by torchrun; return how each has ended.

    As by torchrun, all others are killed when the first process has failed.
    """
    with socket.socket() as result:
        result.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(result.getsockname()[1]), "WORLD_SIZE": str(count)}
    started = [_started({**address, "RANK": str(rank)}, function, arguments) for rank in range(count)]
    first = _ended(*started[0])
    if first.code:
        for process, _ in started[1:]:
            process.join(1)  # those that say why
            process.kill()
    return [first, *(_ended(*one) for one in started[1:])]


def _started(environment: dict[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    """Start a process; return it, and the end of the pipe into which it writes."""
    CONTEXT.set_forkserver_preload(IMPORTED)
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_call, args=(sender, environment, function, arguments))
    process.start()
    sender.close()
    return process, receiver


def _ended(process: Any, receiver: Any) -> Ended:
    """Wait for a process, and return how it has ended."""
    try:
        result, error = receiver.recv() if receiver.poll(SECONDS) else (None, "")
    except EOFError:  # it was killed
        result, error = None, ""
    process.join(SECONDS)
    return Ended(process.exitcode, result, error)


def _call(sender: Any, environment: dict[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    import torch

    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        result = function(*arguments)
    except BaseException:
        sender.send((None, traceback.format_exc()))
        raise
    sender.send((result, ""))
