"""Whether freed memory stays in the process is checked by the resident memory that the operating system reports."""

import gc
import platform
from pathlib import Path

import pytest
import torch

from pellucid import Conv2d, Model, Sequential
from pellucid.allocator import keeping_freed_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
N_FLOATS = 16 << 20  # of a block of 64 MiB


def resident() -> int:
    """Return the resident memory in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024


def allocate_and_free() -> None:
    torch.ones(N_FLOATS)


def test_freed_memory_stays_within_the_outer_context_and_is_returned_after_it():
    before = resident()
    with keeping_freed_memory():
        with keeping_freed_memory():
            allocate_and_free()
        assert resident() - before > 56
    assert resident() - before < 8


def test_a_predictor_keeps_freed_memory_until_it_is_deleted():
    model = Model(Sequential(conv=Conv2d(4, 1)), metrics=(), input_shape=(1, 8, 8))
    predict = model.predictor()
    predict(torch.rand(2, 1, 8, 8))
    before = resident()
    allocate_and_free()
    assert resident() - before > 56
    del predict
    gc.collect()
    assert resident() - before < 8
