"""The benchmark's detectors in plain PyTorch have the same losses as Pellucid's."""

import pytest
import torch

from benchmarks.jobs import DETECTORS, JOBS, scenes
from benchmarks.peers import torch_detect
from pellucid.layers import Mode
from tests.cases import mostly_heavy


@pytest.mark.real
@pytest.mark.parametrize("name", mostly_heavy(DETECTORS, 3))
def test_the_same_network_on_the_same_images_has_the_same_loss(name):
    job, detector = JOBS[f"detect-{name}"], DETECTORS[name]()
    params, _ = detector.init(job.shape, torch.Generator().manual_seed(0))
    result, _ = detector.gradients(params, scenes(job), Mode(True, torch.Generator().manual_seed(0)))
    total = detector.total({key: float(value) for key, value in result.items()})
    assert float(torch_detect.make(job).loss().detach()) == pytest.approx(total, rel=1e-5)
