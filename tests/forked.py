"""Run functions in processes forked from a server with preloaded modules, since imports take longer than most tests."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED_MODULES = [  # modules that register no classes
    *("tests.training.killed", "tests.own.killed", "tests.own.two_networks"),
    *("tests.training.parts", "tests.training.sharded", "tests.training.sharded_faults", "tests.training.divided"),
]
TIMEOUT_SECONDS = 300  # for the result and for the end of a process


class ProcessResult(NamedTuple):
    """Exit code of a process, the return value of its function, and the traceback of its exception or ""."""

    code: int | None
    result: Any
    error: str


def run_forked(function: Callable[..., Any], *arguments: Any) -> tuple[int | None, Any]:
    """Call a function of a module in a new process; return the exit code and the result, None without a result."""
    code, result, _ = _wait(*_start({}, function, arguments))
    return code, result


def run_group(count: int, function: Callable[..., Any], *arguments: Any) -> list[ProcessResult]:
    """Call a function in `count` processes that are connected as by torchrun; return the result of each.

    If the process of rank 0 fails, all others are killed, as by torchrun.
    """
    with socket.socket() as result:
        result.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(result.getsockname()[1]), "WORLD_SIZE": str(count)}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    started = [_start({**address, **rank}, function, arguments) for rank in ranks]
    first_result = _wait(*started[0])
    if first_result.code:
        for process, _ in started[1:]:
            process.join(1)  # time to send a traceback
            process.kill()
    return [first_result, *(_wait(*one) for one in started[1:])]


def _start(environment: dict[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    """Start a process; return it and the receiving end of its pipe."""
    CONTEXT.set_forkserver_preload(PRELOADED_MODULES)
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_run_and_send, args=(sender, environment, function, arguments))
    process.start()
    sender.close()
    return process, receiver


def _wait(process: Any, receiver: Any) -> ProcessResult:
    """Wait for the end of a process and return its result."""
    try:
        result, error = receiver.recv() if receiver.poll(TIMEOUT_SECONDS) else (None, "")
    except EOFError:  # the process was killed
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
