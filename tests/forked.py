"""Processes that are forked from one that has imported everything, since importing takes longer than most tests."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED_MODULES = [  # which register nothing
    *("tests.training.killed", "tests.own.killed", "tests.own.two_networks"),
    *("tests.training.parts", "tests.training.sharded", "tests.training.sharded_faults", "tests.training.divided"),
]
TIMEOUT_SECONDS = 300  # for which a process is waited for


class ProcessResult(NamedTuple):
    """How a process ended: its exit code, what the function returned, and the traceback of what it raised."""

    code: int | None
    result: Any
    error: str


def run_forked(function: Callable[..., Any], *arguments: Any) -> tuple[int | None, Any]:
    """Call a function of a module in a new process; return the exit code and the result, None where there is none."""
    code, result, _ = _wait(*_start({}, function, arguments))
    return code, result


def run_group(count: int, function: Callable[..., Any], *arguments: Any) -> list[ProcessResult]:
    """Call a function in several processes that are connected as by torchrun; return how each has ended.

    As by torchrun, all others are killed when the first process has failed.
    """
    with socket.socket() as result:
        result.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(result.getsockname()[1]), "WORLD_SIZE": str(count)}
    started = [_start({**address, "RANK": str(rank)}, function, arguments) for rank in range(count)]
    first_result = _wait(*started[0])
    if first_result.code:
        for process, _ in started[1:]:
            process.join(1)  # those that say why
            process.kill()
    return [first_result, *(_wait(*one) for one in started[1:])]


def _start(environment: dict[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    """Start a process; return it, and the end of the pipe into which it writes."""
    CONTEXT.set_forkserver_preload(PRELOADED_MODULES)
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_run_and_send, args=(sender, environment, function, arguments))
    process.start()
    sender.close()
    return process, receiver


def _wait(process: Any, receiver: Any) -> ProcessResult:
    """Wait for a process, and return how it has ended."""
    try:
        result, error = receiver.recv() if receiver.poll(TIMEOUT_SECONDS) else (None, "")
    except EOFError:  # it was killed
        result, error = None, ""
    process.join(TIMEOUT_SECONDS)
    return ProcessResult(process.exitcode, result, error)


def _run_and_send(
    sender: Any, environment: dict[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    import torch

    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        result = function(*arguments)
    except BaseException:
        sender.send((None, traceback.format_exc()))
        raise
    sender.send((result, ""))
