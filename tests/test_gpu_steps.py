"""Training steps on an imaginary GPU, whose tensors have no values, neither wait for the host nor copy from it.

Detectors are excluded: their losses depend on the numbers of objects, anchors and proposals, which the host reads from
the device.
"""

import pytest

from tests.forked import run_forked
from tests.gpu_steps import CLASSIFIERS, host_wait_reasons, host_wait_reasons_of_mistakes


@pytest.mark.heavy
@pytest.mark.slow
def test_no_step_waits_for_the_host():
    code, reasons = run_forked(host_wait_reasons)
    assert code == 0
    assert reasons == dict.fromkeys(reasons, "")
    assert len(reasons) > len(CLASSIFIERS) + 15


@pytest.mark.heavy
@pytest.mark.slow
def test_steps_that_wait_are_found():
    code, (reads, draws, copies) = run_forked(host_wait_reasons_of_mistakes)
    assert code == 0
    assert "_local_scalar_dense" in reads
    assert "at least two devices" in draws
    assert "copies from the host" in copies
