"""Evaluation by the batch's own statistics."""

import torch

from pellucid.doctor.measure.batch_statistics import by_batch
from tests.doctor.examined import case, conv_net


def test_norms_alone_are_in_training_mode() -> None:
    it = case(conv_net(), epochs=1)
    before = {path: value.clone() for path, value in it.model.weights.items()}
    x = it.inputs(it.train)
    w = it.model.weights
    y = torch.conv2d(x, w["conv1.weight"], w["conv1.bias"], padding=1)
    y = torch.nn.functional.batch_norm(y, None, None, w["norm.weight"], w["norm.bias"], training=True).relu()
    y = y + torch.conv2d(y, _body(w, "weight"), _body(w, "bias"), padding=1).tanh()
    expected = torch.max_pool2d(y, 2).flatten(1) @ w["scores.weight"].T + w["scores.bias"]
    torch.testing.assert_close(by_batch(it.model, x), expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(before[path], value) for path, value in it.model.weights.items())


def _body(weights: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    return next(value for path, value in weights.items() if path.startswith("block.") and path.endswith(f"conv.{name}"))
