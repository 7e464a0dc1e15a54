"""The memory allocator of the C library, which keeps freed memory in the process while networks run repeatedly.

By default glibc returns large blocks to the operating system when they are freed, which clears each page when it is
allocated again: for activations of tens of MB, this can take longer than the arithmetic on them. Other C libraries are
left as they are. Tests: tests/base/test_allocator.py.
"""

import ctypes
import platform
import threading
from collections.abc import Generator
from contextlib import contextmanager

IS_GLIBC = platform.libc_ver()[0] == "glibc"
# numbers of mallopt's parameters, and values for them, from glibc's malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
NEVER_TRIM = -1  # value of TRIM_THRESHOLD: freed memory is not returned to the operating system
DEFAULT_MMAP_MAX = 65_536
MAX_THRESHOLD = 32 << 20  # bytes: the largest MMAP_THRESHOLD that glibc chooses by itself


class FreedMemory:
    """Freed memory of the process, which `keep` keeps in it until `release` was called as many times."""

    _lock = threading.RLock()  # an object may be collected, and call `release`, while the lock is held
    _n_keepers = 0  # calls of `keep` without a call of `release`

    @classmethod
    def keep(cls) -> None:
        """Keep freed memory in the process."""
        with cls._lock:
            cls._n_keepers += 1
            if cls._n_keepers == 1 and IS_GLIBC:
                libc = ctypes.CDLL(None)
                libc.mallopt(MMAP_MAX, 0)
                libc.mallopt(TRIM_THRESHOLD, NEVER_TRIM)

    @classmethod
    def release(cls) -> None:
        """End one call of `keep`; after the last one, return freed memory to the operating system."""
        with cls._lock:
            cls._n_keepers -= 1
            if cls._n_keepers == 0 and IS_GLIBC:
                libc = ctypes.CDLL(None)
                # The calls above have ended glibc's adaptation of both thresholds to the sizes of freed blocks. It
                # cannot be started again, so the thresholds become the largest that it would have chosen.
                libc.mallopt(MMAP_MAX, DEFAULT_MMAP_MAX)
                libc.mallopt(MMAP_THRESHOLD, MAX_THRESHOLD)
                libc.mallopt(TRIM_THRESHOLD, 2 * MAX_THRESHOLD)
                libc.malloc_trim(0)


@contextmanager
def keeping_freed_memory() -> Generator[None, None, None]:
    """Within the context, keep freed memory in the process."""
    FreedMemory.keep()
    try:
        yield
    finally:
        FreedMemory.release()
