"""Processes that are forked from one that has imported everything, since importing takes longer than most tests."""

import multiprocessing
from collections.abc import Callable
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
IMPORTED = ["tests.training.killed", "tests.own.killed", "tests.own.two_networks"]  # which register nothing


def forked(function: Callable[..., Any], *arguments: Any) -> tuple[int | None, Any]:
    """Call a function of a module in a new process; return the exit code and the result, None where there is none."""
    CONTEXT.set_forkserver_preload(IMPORTED)
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_call, args=(sender, function, arguments))
    process.start()
    process.join(300)
    return process.exitcode, receiver.recv() if receiver.poll() else None


def _call(result: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    import torch

    torch.set_num_threads(1)
    result.send(function(*arguments))
