"""Whether freed memory stays in the process is checked by the resident memory that the operating system reports.

Each test runs in a new process, since an older one may have free memory that it uses again.
"""

import gc
from pathlib import Path

import pytest
import torch

from pellucid import Conv2d, Model, Sequential
from pellucid.base.allocator import IS_GLIBC, keeping_freed_memory
from tests.forked import run_forked

pytestmark = pytest.mark.skipif(not IS_GLIBC, reason="only glibc has these settings")
N_FLOATS = 16 << 20  # of a block of 64 MiB


def resident() -> int:
    """Return the resident memory in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024


def allocate_and_free() -> None:
    torch.ones(N_FLOATS)


def growth_in_nested_contexts() -> tuple[int, int]:
    before = resident()
    with keeping_freed_memory():
        with keeping_freed_memory():
            allocate_and_free()
        within = resident() - before
    return within, resident() - before


def growth_with_a_predictor() -> tuple[int, int]:
    model = Model(Sequential(conv=Conv2d(4, 1)), metrics=(), input_shape=(1, 8, 8))
    predict = model.predictor()
    predict(torch.rand(2, 1, 8, 8))
    before = resident()
    allocate_and_free()
    within = resident() - before
    del predict
    gc.collect()
    return within, resident() - before


@pytest.mark.parametrize("measure", [growth_in_nested_contexts, growth_with_a_predictor])
def test_freed_memory_stays_until_the_last_user_ends(measure):
    code, (within, after) = run_forked(measure)
    assert code == 0
    assert within > 56
    assert after < 8
