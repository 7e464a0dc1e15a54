"""Overfitting: the shape of the curves of Nielsen 2015, chapter 3."""

from collections.abc import Callable

import pytest

from pellucid.lessons import Lesson, lesson


@pytest.mark.slow
def test_the_curves_have_the_shape_of_overfitting():
    results = lesson("overfitting", small=True).results
    learned, images = results["memorised"].numbers, results["more_data"].numbers
    assert learned["training accuracy"] == 1
    assert learned["last test cost"] > 1.05 * learned["lowest test cost"]
    assert learned["in epoch"] <= 50  # of 200
    gaps = [train - test for train, test in zip(images["training"], images["test"], strict=True)]
    assert gaps == sorted(gaps, reverse=True)
    cured = results["regularized"].numbers
    weights = cured["mean squared weight of the first layer"]
    assert weights["L2, λ = 0.1"] < 0.8 * weights["neither"]
    for cure in ("L2, λ = 0.1", "dropout 0.5, 100 neurons"):
        assert cured[cure]["last test cost"] < cured["neither"]["last test cost"]
        assert cured[cure]["test accuracy"] > cured["neither"]["test accuracy"]
    stopped = results["stopped"].numbers
    assert stopped["stopped after epoch"] == stopped["best epoch"] + 10 < 200


@pytest.mark.lessons
@pytest.mark.real
def test_on_mnist_the_curves_are_those_of_the_book(on_mnist: Callable[[str], Lesson]):
    results = on_mnist("overfitting").results
    learned, images = results["memorised"].numbers, results["more_data"].numbers
    assert learned["data"] == "mnist"
    assert learned["training accuracy"] == 1
    assert learned["test accuracy"] == pytest.approx(0.8227, abs=0.03)
    assert 5 <= learned["in epoch"] <= 40  # 15 in the book
    assert learned["last test cost"] > 1.15 * learned["lowest test cost"]
    assert images["training"][0] - images["test"][0] > 0.25
    assert abs(images["training"][-1] - images["test"][-1]) < 0.02
    cured = results["regularized"].numbers
    assert cured["L2, λ = 0.1"]["test accuracy"] == pytest.approx(0.871, abs=0.02)
    assert cured["L2, λ = 0.1"]["last test cost"] < 1.02 * cured["L2, λ = 0.1"]["lowest test cost"]
    assert results["stopped"].numbers["stopped after epoch"] == results["stopped"].numbers["best epoch"] + 10
