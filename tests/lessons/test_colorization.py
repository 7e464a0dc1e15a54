"""The lesson on colorization, compared with SciPy's minima, NumPy, and scikit-image's Lab."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from skimage.color import rgb2lab
from sklearn.datasets import load_sample_image

from pellucid import Model
from pellucid.generators.zhang import colour_table, encode
from pellucid.lessons import LessonSettings
from pellucid.lessons.colorization import COLOURS, GUIDE, balls, learned, one_pixel, painted, rare, trained
from pellucid.lessons.lesson import NumberRows

DRAGGED = ((-35.0, 55.0), (50.0, -20.0))
CENTRES = colour_table().centres.numpy().astype(float)


def soft_encoded(ab: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities (N, Q) of colours (N, 2), a Gaussian over five nearest bins, and the nearest bin (N,).

    Several bins may be equally near; which of them are used is not checked.
    """
    squares = ((ab[:, None] - CENTRES[None]) ** 2).sum(2)
    bins = encode(torch.tensor(ab).float().T[None, :, None]).bins[0, :, 0].T.numpy()
    rows = np.arange(len(ab))[:, None]
    assert np.allclose(squares[rows, bins], np.sort(squares, axis=1)[:, :5])
    probabilities = np.zeros_like(squares)
    probabilities[rows, bins] = np.exp(-squares[rows, bins] / 50)
    return probabilities / probabilities.sum(1, keepdims=True), bins[:, 0]


@pytest.mark.parametrize(("share", "colours"), [(0.6, COLOURS), (0.9, COLOURS), (0.7, DRAGGED)])
def test_mean_and_median_have_the_smallest_costs(share: float, colours: NumberRows):
    numbers = one_pixel(LessonSettings(), share, 0.38, colours).numbers
    ab, shares = np.array(colours), np.array([share, 1 - share])
    for name, power in (("mean", 2), ("median", 1)):
        best = minimize(
            lambda answer, power=power: shares @ (np.abs(ab - answer) ** power).sum(1),
            ab[0] + 1,
            method="Nelder-Mead",
            options={"xatol": 1e-6, "fatol": 1e-9},
        )
        assert numbers[name]["a, b"] == pytest.approx(best.x, abs=1e-3)
        assert numbers[name]["chroma"] == pytest.approx(np.linalg.norm(best.x), abs=1e-3)


@pytest.mark.parametrize("temperature", [0.1, 0.38, 1.0])
@pytest.mark.parametrize("colours", [COLOURS, DRAGGED])
def test_the_annealed_mean_is_that_of_numpy(temperature: float, colours: NumberRows):
    p = np.array([0.7, 0.3]) @ soft_encoded(np.array(colours))[0]
    sharpened = p ** (1 / temperature)
    expected = sharpened @ CENTRES / sharpened.sum()
    numbers = one_pixel(LessonSettings(), 0.7, temperature, colours).numbers
    assert numbers[f"T = {temperature:g}"]["a, b"] == pytest.approx(expected, abs=0.01)


def test_painted_colours_are_those_of_scikit_image():
    rgb = painted(torch.tensor(COLOURS)).numpy()
    lab = rgb2lab(rgb[None])[0]
    assert lab[0] == pytest.approx([50, *COLOURS[0]], abs=0.1)
    assert lab[1, 0] == pytest.approx(50, abs=0.1)  # outside of sRGB: less chroma, but the same hue
    assert np.arctan2(lab[1, 2], lab[1, 1]) == pytest.approx(np.arctan2(COLOURS[1][1], COLOURS[1][0]), abs=0.02)


@pytest.mark.parametrize("uniform", [0.1, 0.5, 1.0])
def test_weights_of_rare_colours_are_those_of_numpy(uniform: float):
    pixels = load_sample_image("china.jpg")[:426, :639] / 255
    photo = pixels.reshape(142, 3, 213, 3, 3).mean((1, 3))
    cells = rgb2lab(photo)[:142, :212, 1:].reshape(71, 2, 106, 2, 2).mean((1, 3)).reshape(-1, 2)
    probabilities, nearest = soft_encoded(np.round(cells))
    frequency = probabilities.mean(0)
    weights = 1 / ((1 - uniform) * frequency + uniform / len(CENTRES))
    weights /= weights @ frequency
    is_grey = np.linalg.norm(CENTRES[nearest], axis=1) < 15
    numbers = rare(LessonSettings(), uniform).numbers
    assert numbers["share of cells near grey"] == pytest.approx(is_grey.mean(), abs=0.01)
    share = weights[nearest][is_grey].sum() / weights[nearest].sum()
    assert numbers["their share of the weights"] == pytest.approx(share, abs=0.01)
    assert numbers["largest weight"] == pytest.approx(weights[nearest].max(), rel=0.02)
    if uniform == 0.5:
        assert [round(100 * is_grey.mean()), round(100 * share)] == [77, 34]  # as the guide says


def test_balls_are_red_as_often_as_said_and_only_their_colour_differs():
    pictures, masks = balls(20, 0.7, torch.Generator().manual_seed(0))
    lab = rgb2lab(pictures.permute(0, 2, 3, 1).numpy())
    is_red = np.array([lab[k][mask][:, 1].mean() > 30 for k, mask in enumerate(masks.numpy())])
    assert is_red.tolist() == ([True] * 7 + [False] * 3) * 2
    assert np.abs(lab[..., 0][masks.numpy()] - 50).max() < 0.5


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_chromas_of_the_networks_answers_are_those_of_numpy(temperature: float):
    numbers = learned(LessonSettings(), 0.7, temperature).numbers
    regression, classifier = trained(0.7, 0)
    pictures, masks = balls(10, 0.7, torch.Generator().manual_seed(1))
    lab = rgb2lab(pictures.permute(0, 2, 3, 1).numpy())
    inside = masks.numpy()
    x = torch.tensor(lab[..., 0] / 50 - 1)[:, None].float()

    def convolved(model: Model, name: str, images: torch.Tensor, padding: int) -> torch.Tensor:
        weights = model.params["generator"][name]
        return torch.nn.functional.conv2d(images, weights["weight"], weights["bias"], padding=padding)

    ab = 110 * convolved(regression, "conv2d2", convolved(regression, "conv2d1", x, 1).relu(), 1)
    small = torch.nn.functional.avg_pool2d(x, 2)
    logits = convolved(classifier, "conv2d2", convolved(classifier, "conv2d1", small, 1).relu(), 0)
    p = np.exp(logits.numpy().astype(float).transpose(0, 2, 3, 1) / temperature)
    annealed = (p @ CENTRES / p.sum(-1, keepdims=True)).repeat(2, 1).repeat(2, 2)
    answers = {"true": lab[..., 1:], "quadratic": ab.numpy().transpose(0, 2, 3, 1), f"T = {temperature:g}": annealed}
    for name, answer in answers.items():
        chromas = np.linalg.norm(answer, axis=-1)
        assert numbers[name]["chroma of balls"] == pytest.approx(chromas[inside].mean(), abs=0.1)
        assert numbers[name]["of grass"] == pytest.approx(chromas[~inside].mean(), abs=0.1)


def test_the_mean_is_greyer_than_balls_and_a_low_temperature_is_not():
    numbers = learned(LessonSettings(), 0.6, 0.1).numbers
    assert numbers["quadratic"]["chroma of balls"] < numbers["true"]["chroma of balls"] - 15
    assert numbers["T = 0.1"]["chroma of balls"] > numbers["true"]["chroma of balls"]
    assert all(answer["of grass"] == pytest.approx(53, abs=3) for answer in numbers.values())


def test_the_answers_of_the_exercises():
    annealed, ratio = GUIDE.exercises
    p, a = np.array([0.8, 0.2]), np.array([60, -40])
    assert annealed.answer == pytest.approx(np.average(a, weights=p**2), abs=0.05)
    weights = 1 / (0.5 * np.array([0.9, 0.1]) + 0.5 / 2)
    assert ratio.answer == pytest.approx(weights[1] / weights[0])
