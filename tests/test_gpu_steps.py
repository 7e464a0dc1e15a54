"""Nothing in a training step waits for the host, or is made there: on an imaginary GPU, whose tensors have no values.

Detectors are left out: what their losses compute depends on how many objects, anchors and proposals there are, which
the host reads from the device.
"""

import pytest

from tests.forked import forked
from tests.gpu_steps import CLASSIFIERS, reasons, reasons_of_mistakes


@pytest.mark.slow
def test_no_step_waits_for_the_host():
    code, found = forked(reasons)
    assert code == 0
    assert found == dict.fromkeys(found, "")
    assert len(found) > len(CLASSIFIERS) + 15


@pytest.mark.slow
def test_steps_that_wait_are_found():
    code, (reads, draws, copies) = forked(reasons_of_mistakes)
    assert code == 0
    assert "_local_scalar_dense" in reads
    assert "at least two devices" in draws
    assert "copies from the host" in copies
