"""Traces of single-stage detectors against the gradients of training."""

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.data import Batch
from pellucid.layers import Mode
from pellucid.model import Model
from pellucid.nested import flatten, map_tree
from tests.detectors.drawn import Rectangles, small_single_stage, small_ssd, small_yolo1, small_yolo3
from tests.detectors.two_stages import small_faster


@pytest.mark.parametrize("make_net", [small_single_stage, small_ssd, small_yolo3, small_yolo1])
def test_the_trace_of_a_detector_has_the_loss_and_the_gradients_of_training(make_net) -> None:
    model = Model(make_net(channels=4), input_shape=(3, None, None), classes=Rectangles.classes)
    images, targets = Rectangles(2, (24, 32)).batch(range(2), None)
    trace = model.trace(images, targets)
    params = map_tree(torch.Tensor.double, model.params)
    batch = Batch((images.float() / 255).double(), targets)
    losses, dparams = model.objective.gradients(params, batch, Mode())
    total = sum(model.objective.weight(name) * float(value) for name, value in losses.items())
    assert trace.loss == pytest.approx(total, rel=1e-9)
    for path, gradient in flatten(dparams).items():
        torch.testing.assert_close(trace.gradients[path], gradient, rtol=1e-9, atol=1e-12)
    path = next(path for path in flatten(dparams) if path.endswith("conv.weight"))
    explanation = trace.explain(path)
    assert explanation.exact
    assert explanation.links[-1].where  # the chain ends at the loss
    if make_net is not small_single_stage:  # its scores learn the IoU of its boxes, a constant in the gradient
        change = trace.nudge(path, 1e-4)
        assert change.predicted == pytest.approx(change.actual, rel=0.05, abs=1e-9)
    assert trace["target"].shape == (sum(map(len, targets)), 7)
    assert "DetectionLoss computes this derivative itself" in str(explanation)


def test_two_stage_detectors_and_invalid_targets_are_refused() -> None:
    images, targets = Rectangles(2, (24, 32)).batch(range(2), None)
    with pytest.raises(PellucidError, match="trace a single-stage detector"):
        Model(small_faster(), input_shape=(3, None, None)).trace(images, targets)
    model = Model(small_single_stage(channels=4), input_shape=(3, None, None))
    with pytest.raises(PellucidError, match=r"give \(N, C, H, W\) and a list of N"):
        model.trace(images, targets[:1])
    with pytest.raises(PellucidError, match="takes a list with the Objects"):
        model.trace(images, torch.zeros(2))
