"""Memory that training frees and takes again at every step, kept in the process meanwhile."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# mallopt's parameters, from glibc's malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
NEVER = -1
USUAL_MAPS = 65_536
LARGEST_THRESHOLD = 32 << 20  # bytes: where glibc's own adaptation ends


@contextmanager
def memory_kept() -> Iterator[None]:
    """Keep freed memory in the process while the context lasts, and give it back at the end.

    glibc hands large blocks back to the kernel when they are freed, and the kernel clears each page when it is
    taken again: with activations of tens of MB that can cost more than the arithmetic on them. Other C libraries
    are left as they are.
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
