"""Images as published weights want them: hand numbers."""

import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.weights import inputs

RED = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # (1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0 - 0.406) / 0.225
        (inputs.TORCHVISION, [2.2489, -2.0357, -1.8044]),
        (inputs.KERAS_TORCH, [2.2489, -2.0357, -1.8044]),
        (inputs.KERAS_TF, [1.0, -1.0, -1.0]),
        (inputs.TORCHVISION_INCEPTION, [1.0, -1.0, -1.0]),
        # blue, green, red: 0 - 103.939, 0 - 116.779, 255 - 123.68
        (inputs.KERAS_CAFFE, [-103.939, -116.779, 131.32]),
    ],
)
def test_a_red_pixel(kind: inputs.Input, expected: list[float]) -> None:
    assert kind.scale(RED).flatten().tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("images", [torch.zeros(1, 1, 4, 4), torch.zeros(3, 4, 4), torch.zeros(1, 3, 4, 4).byte()])
def test_other_images_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(PellucidError, match=r"published weights take colour images"):
        inputs.TORCHVISION.scale(images)
