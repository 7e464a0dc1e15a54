"""Labels that a few pixels determine."""

import pytest
import torch

from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.shortcut_pixels import CHECK
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.optim import Adam


def noisy_images(classes: int, n: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (n, 1, 12, 12) of noise, brighter as a whole for higher classes, and the labels (n,)."""
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(n) % classes
    return torch.rand(n, 1, 12, 12, generator=rng) + 0.2 * y[:, None, None, None], y


def make_case(x: torch.Tensor, y: torch.Tensor) -> Case:
    return case_of(Model(mlp(sizes=(144, int(y.max()) + 1)), input_shape=(1, 12, 12)), x, y)


def test_brightness_of_the_whole_image_is_no_shortcut() -> None:
    assert not CHECK.find(make_case(*noisy_images(5)))


@pytest.mark.parametrize("is_marked", [False, True])
def test_a_mark_in_the_images_of_some_classes_is_found(is_marked: bool) -> None:
    x, y = noisy_images(4)
    train_x = x.clone()
    if is_marked:
        train_x[y % 2 == 0, :, -2:, 3:9] = 2.0
    model = Model(mlp(sizes=(144, 4)), optimizer=Adam(0.003), input_shape=(1, 12, 12))
    model.fit(train_x, y, epochs=20, batch_size=32, verbose=False)
    findings = CHECK.find(case_of(model, train_x, y, begin=lambda: Model(mlp(sizes=(144, 4)), input_shape=(1, 12, 12))))
    assert len(findings) == is_marked
    for finding in findings:
        assert (finding.evidence["pixels"], finding.evidence["classes_with_the_mark"]) == (12, 2)
        assert "mark" in finding.cause
