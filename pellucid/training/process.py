"""The process during a training: signal handlers, threads, kernels, and errors for a lack of memory."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, cast

import torch

from pellucid.base.errors import PellucidError, is_out_of_memory
from pellucid.run.folder import RunFolder

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Ctrl-C and SIGTERM as a request to stop, which the training loop checks between two steps.

    stop_requested: whether a signal has arrived.
    """

    def __init__(self) -> None:
        self.stop_requested = False

    @contextmanager
    def handling_signals(self) -> Generator[None, None, None]:
        """Within the context, the first SIGINT or SIGTERM sets `stop_requested`, the second raises KeyboardInterrupt.

        Without effect outside the main thread, because Python handles signals only there.
        """
        in_main_thread = threading.current_thread() is threading.main_thread()
        previous_handlers = (
            {number: signal.signal(number, self._request_stop) for number in STOP_SIGNALS} if in_main_thread else {}
        )
        try:
            yield
        finally:
            for number, handler in previous_handlers.items():
                signal.signal(number, handler)

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        if self.stop_requested:
            raise KeyboardInterrupt("stopped at once, without a checkpoint of the last steps")
        self.stop_requested = True


def stop_exception(folder: RunFolder | None, position: str, process_count: int) -> KeyboardInterrupt:
    """Return the exception that ends a training on Ctrl-C, after everything is saved, with the command to resume it.

    folder: None in processes that save nothing: all but the first of a training, and all of one without a run folder.
    position: where the training stopped, in words, such as "in epoch 3 after step 120".
    """
    if folder is None:
        return KeyboardInterrupt(f"stopped {position}")
    launcher = "torchrun ... -m " if process_count > 1 else ""
    resume_command = f"{launcher}pellucid train --resume {folder.path}"
    command = resume_command if folder.recipe.exists() else "the same fit with resume=True"
    return KeyboardInterrupt(f"stopped {position}; saved in {folder.path}; resume with {command}")


@contextmanager
def naming_batch_size(size: int) -> Generator[None, None, None]:
    """Within the context, an error for a lack of memory becomes a PellucidError that names the batch size."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise PellucidError(
            f"not enough memory to train with batch_size {size}; lower it (train.batch_size of a recipe), or make the "
            "network or the images smaller"
        ) from error


@contextmanager
def torch_threads(count: int) -> Generator[None, None, None]:
    """Set the number of PyTorch's CPU threads within the context; 0 leaves it unchanged."""
    count_before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(count_before)


@contextmanager
def deterministic_kernels() -> Generator[None, None, None]:
    """Within the context, operations on GPUs and CPUs give the same bits each time, wherever PyTorch has such kernels.

    PyTorch warns of each operation that has none.
    """
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory_settings = cast(Any, torch.utils.deterministic)  # which has no type annotations
    filled_memory = memory_settings.fill_uninitialized_memory
    chose_by_time = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False  # algorithms that are chosen by their times differ between runs
    memory_settings.fill_uninitialized_memory = False  # every value is written before it is read
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_deterministic, warn_only=warned_only)
        memory_settings.fill_uninitialized_memory = filled_memory
        torch.backends.cudnn.benchmark = chose_by_time
