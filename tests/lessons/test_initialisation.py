"""Initial weights: variances in closed form, and the first epochs of Nielsen 2015, chapter 3."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from pellucid.lessons import Lesson, LessonSettings
from pellucid.lessons.initialisation import GUIDE, depth, first_epochs, sums


def test_the_weighted_sums_have_the_variances_of_the_closed_form():
    numbers = sums(LessonSettings()).numbers
    assert numbers["standard deviation, normal"] == pytest.approx(math.sqrt(501), rel=0.02)
    assert numbers["standard deviation, scaled"] == pytest.approx(math.sqrt(500 / 1000 + 1), rel=0.02)
    share = math.erfc(4 / math.sqrt(501) / math.sqrt(2))  # P(|z| > 4)
    assert numbers["share with |z| > 4"]["normal"] == pytest.approx(share, abs=0.01)


def test_relus_halve_the_mean_square_unless_he_weights_double_it():
    factors = depth(LessonSettings()).numbers["factor per layer"]
    assert factors["scaled"] == pytest.approx(0.5, rel=0.04)
    assert factors["he"] == pytest.approx(1.0, rel=0.04)


def test_the_digits_are_learned_faster_from_small_weights():
    numbers = first_epochs(LessonSettings(small=True)).numbers
    normal, scaled = (numbers[f"{name}: test accuracy after epochs 1, 2 and 10"] for name in ("normal", "scaled"))
    assert scaled[0] > normal[0] + 0.1  # the book: 0.93 and 0.87
    assert scaled[1] > normal[1] + 0.1
    assert min(normal[-1], scaled[-1]) > 0.85


@pytest.mark.lessons
@pytest.mark.real
def test_the_first_epochs_are_those_of_the_book(on_mnist: Callable[[str], Lesson]):
    numbers = on_mnist("initialisation").results["first_epochs"].numbers
    assert numbers["data"] == "mnist"
    normal, scaled = (numbers[f"{name}: test accuracy after epochs 1, 2 and 10"] for name in ("normal", "scaled"))
    assert normal[0] == pytest.approx(0.87, abs=0.015)
    assert scaled[0] == pytest.approx(0.93, abs=0.015)
    assert min(normal[-1], scaled[-1]) > 0.935


@pytest.mark.parametrize("ones", [0, 100, 1000])
def test_sums_of_other_inputs_have_the_variances_of_the_closed_form(ones):
    numbers = sums(LessonSettings(), ones).numbers
    assert numbers["standard deviation, normal"] == pytest.approx(math.sqrt(ones + 1), rel=0.02)
    assert numbers["standard deviation, scaled"] == pytest.approx(math.sqrt(ones / 1000 + 1), rel=0.02)


def test_without_relus_scaled_weights_keep_the_mean_square_and_he_weights_double_it():
    factors = depth(LessonSettings(), "nothing", 100).numbers["factor per layer"]
    assert factors["scaled"] == pytest.approx(1.0, rel=0.04)
    assert factors["he"] == pytest.approx(2.0, rel=0.04)


def test_the_answers_of_the_exercises():
    deviation, he = GUIDE.exercises
    random = np.random.default_rng(0)
    assert deviation.answer == pytest.approx(random.normal(size=(20_000, 101)).sum(1).std(), rel=0.02)
    z = random.normal(size=(1000, 200)) @ (he.answer * random.normal(size=(200, 200)))
    assert np.square(np.maximum(z, 0)).mean() == pytest.approx(1.0, rel=0.05)  # as that of the inputs
