"""What a training changes in its process while it runs: signal handlers and the memory allocator."""

import ctypes
import platform
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# mallopt's parameters, from glibc's malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
NEVER = -1
USUAL_MAPS = 65_536
LARGEST_THRESHOLD = 32 << 20  # bytes: where glibc's own adaptation ends


class StopSignals:
    """Ctrl-C and SIGTERM as a request to stop, which training answers between two steps."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def caught(self) -> Generator[None, None, None]:
        """Let the first SIGINT or SIGTERM set `asked`, and a second one raise KeyboardInterrupt at once.

        Outside of the main thread, where Python delivers no signals, nothing changes.
        """
        main = threading.current_thread() is threading.main_thread()
        earlier = {number: signal.signal(number, self._ask) for number in SIGNALS} if main else {}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt("stopped at once, without a checkpoint of the last steps")
        self.asked = True


@contextmanager
def memory_kept() -> Generator[None, None, None]:
    """Keep freed memory in the process within the context, and return it to the kernel at the end.

    glibc returns large blocks to the kernel when they are freed, and the kernel clears each page when it is allocated
    again: with activations of tens of MB that can cost more than the arithmetic on them. Other C libraries keep their
    settings.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        libc.mallopt(MMAP_MAX, USUAL_MAPS)
        libc.mallopt(MMAP_THRESHOLD, LARGEST_THRESHOLD)
        libc.mallopt(TRIM_THRESHOLD, 2 * LARGEST_THRESHOLD)
        libc.malloc_trim(0)
