"""The lesson on GANs, compared with SciPy's integrals, scikit-learn's kernels and PyTorch's autograd."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.metrics.pairwise import rbf_kernel
from torch import Tensor

from pellucid import Model
from pellucid.lessons import LessonSettings
from pellucid.lessons.gan import (
    GUIDE,
    adversarial,
    generated_by,
    judged,
    matched,
    moment_matching,
    real_points,
    summary,
    trained,
)


def by_pytorch(model: Model, z: Tensor) -> Tensor:
    """Return the generator's points by PyTorch's functions."""
    weights = model.params["generator"]
    for name in ("dense1", "dense2"):
        z = F.linear(z, weights[name]["weight"], weights[name]["bias"]).relu()
    return F.linear(z, weights["dense3"]["weight"], weights["dense3"]["bias"])


def squared_mmd(x: np.ndarray, y: np.ndarray, width: float) -> float:
    gamma = 1 / (2 * width**2)
    return float(rbf_kernel(x, x, gamma).mean() - 2 * rbf_kernel(x, y, gamma).mean() + rbf_kernel(y, y, gamma).mean())


@pytest.mark.parametrize(("mean", "deviation"), [(1.5, 0.5), (-3.0, 2.0), (0.0, 1.0), (3.0, 0.25)])
def test_the_best_discriminators_loss_and_slope(mean: float, deviation: float):
    real, fake = norm(0, 1), norm(mean, deviation)

    def cost(x: float) -> float:
        score = real.logpdf(x) - fake.logpdf(x)
        return real.pdf(x) * np.logaddexp(0, -score) + fake.pdf(x) * np.logaddexp(0, score)

    numbers = judged(LessonSettings(), mean, deviation).numbers
    places = {"points": [0.0, mean - deviation, mean, mean + deviation], "limit": 200}
    assert numbers["discriminator's loss"] == pytest.approx(quad(cost, -15, 15, **places)[0], abs=1e-5)
    assert numbers["discriminator's loss"] <= 2 * math.log(2) + 1e-9

    x = torch.linspace(-15, 15, 30_001, dtype=torch.float64)
    q = torch.tensor(fake.pdf(x.numpy()))
    with torch.enable_grad():
        moved = torch.zeros((), dtype=torch.float64, requires_grad=True)
        scores = 0.5 * ((x + moved - mean) / deviation) ** 2 - 0.5 * (x + moved) ** 2 + math.log(deviation)
        loss = (q * F.softplus(-scores)).sum() * 0.001
        (slope,) = torch.autograd.grad(loss, moved)
    assert numbers["slope of the generator's loss"] == pytest.approx(float(slope), abs=1e-4)


def test_real_points_are_in_eight_groups():
    points = real_points(4_096, 0).numpy()
    angles = np.arctan2(points[:, 1], points[:, 0])
    groups = np.round(angles / (math.pi / 4)).astype(int) % 8
    counts = np.bincount(groups, minlength=8)
    assert (np.abs(counts - 512) < 5 * math.sqrt(512)).all()
    middles = np.stack([np.cos(groups * math.pi / 4), np.sin(groups * math.pi / 4)], 1)
    assert (points - middles).std() == pytest.approx(0.05, rel=0.05)


def test_groups_of_generated_points_are_counted():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1.3, 1.3, (500, 2))
    points[:60] = [1.0, 0.1]
    angles = np.arange(8) * math.pi / 4
    distances = np.hypot(points[:, :1] - np.cos(angles), points[:, 1:] - np.sin(angles))
    counts = (distances < 0.2).sum(0)
    numbers = summary(torch.tensor(points).float())
    assert numbers["points in each"] == counts.tolist()
    assert numbers["outside"] == 500 - counts.sum()
    assert numbers["groups found"] == (counts >= 500 / 32).sum() > 0


@pytest.mark.parametrize("width", [0.2, 2.0])
def test_mmd_before_and_after_the_training_is_that_of_scikit_learn(width: float):
    numbers = matched(LessonSettings(), width).numbers
    points = real_points(4_096, 0)
    z = 2 * torch.rand(1_000, 2, generator=torch.Generator().manual_seed(0)) - 1
    model = moment_matching(width, 0)
    samples = {"real": points[:1_000], "before": by_pytorch(model, z)}
    model.fit(points, torch.zeros(len(points)), epochs=32, batch_size=128, verbose=False)
    samples["after"] = by_pytorch(model, z)
    for name, sample in samples.items():
        expected = squared_mmd(sample.numpy(), points[1_000:2_000].numpy(), width)
        assert numbers[name]["MMD"] ** 2 == pytest.approx(expected, abs=2e-5)
        assert numbers[name]["mean"] == pytest.approx(sample.numpy().mean(0), abs=1e-4)
        assert numbers[name]["standard deviations"] == pytest.approx(sample.numpy().std(0, ddof=1), abs=1e-4)


@pytest.mark.heavy
@pytest.mark.slow
def test_a_narrow_kernel_is_lost_a_medium_one_finds_the_groups_and_a_wide_one_only_the_spread():
    lost, found, spread = (matched(LessonSettings(), width).numbers["after"] for width in (0.03, 0.2, 2.0))
    assert lost["outside"] > 900
    assert found["groups found"] == 8
    assert spread["groups found"] <= 4
    real = real_points(4_096, 0)
    assert spread["mean"] == pytest.approx(real.numpy().mean(0), abs=0.15)
    assert spread["standard deviations"] == pytest.approx(real.numpy().std(0), abs=0.1)


def test_points_of_the_gan_are_pytorchs():
    model = adversarial(0.002, "hinge", 3)
    z = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(generated_by(model, z), by_pytorch(model, z), atol=1e-6)
    model.fit((real_points(512, 0) + 1) / 2, torch.zeros(512), epochs=1, batch_size=128, verbose=False)
    assert torch.allclose(generated_by(model, z), by_pytorch(model, z), atol=1e-5)


@pytest.mark.heavy
@pytest.mark.slow
def test_a_slow_discriminator_lets_points_wander_and_a_fast_one_loses_groups():
    by_rate = {rate: [*trained(LessonSettings(), rate).numbers.values()] for rate in (0.0005, 0.002, 0.008)}
    slow, medium, fast = (numbers[-1] for numbers in by_rate.values())
    assert slow["outside"] > 700
    assert medium["groups found"] == 8
    assert fast["outside"] < 500
    assert fast["groups found"] < 8
    assert by_rate[0.008][0]["outside"] < by_rate[0.002][0]["outside"]  # nearer to the circle at first


def test_the_answers_of_the_exercises():
    best, discrepancy = GUIDE.exercises
    assert best.answer == pytest.approx(0.3 / (0.3 + 0.1))
    assert discrepancy.answer == pytest.approx(squared_mmd(np.array([[0.0]]), np.array([[1.0]]), 1.0), abs=0.001)
