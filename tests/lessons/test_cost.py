"""The cost function: closed forms of the gradients, and the accuracies of the book."""

from collections.abc import Callable

import numpy as np
import pytest

from pellucid.lessons import Lesson, LessonSettings, lesson
from pellucid.lessons.cost import GUIDE, saturated, slowdown

COSTS = ("quadratic", "cross-entropy")


def test_the_gradients_are_those_of_the_closed_forms():
    numbers = slowdown(LessonSettings()).numbers
    assert numbers["largest quadratic gradient"] == pytest.approx(4 / 27, rel=1e-6)  # the maximum of a²(1 - a)
    assert numbers["at the output"] == pytest.approx(2 / 3, abs=1e-3)
    assert numbers["quadratic gradient at 0.98"] == pytest.approx(0.98**2 * 0.02)
    assert numbers["cross-entropy gradient at 0.98"] == pytest.approx(0.98)


def test_cross_entropy_learns_faster_than_quadratic_loss_from_saturation():
    results = lesson("cost", small=True).results
    saturated, accuracies = results["saturated"].numbers, results["accuracies"].numbers
    quadratic, entropy = (saturated[f"{name}: test accuracy after epochs 1, 5 and the last"] for name in COSTS)
    assert entropy[1] > quadratic[1] + 0.3
    assert abs(accuracies["quadratic: test accuracy"] - accuracies["cross-entropy: test accuracy"]) < 0.03


@pytest.mark.lessons
@pytest.mark.real
def test_both_costs_reach_the_accuracies_of_the_book(on_mnist: Callable[[str], Lesson]):
    results = on_mnist("cost").results
    saturated, accuracies = results["saturated"].numbers, results["accuracies"].numbers
    assert accuracies["data"] == "mnist"
    assert accuracies["quadratic: test accuracy"] == pytest.approx(0.9542, abs=0.01)  # Nielsen 2015, chapter 1
    assert accuracies["cross-entropy: test accuracy"] == pytest.approx(0.9549, abs=0.01)  # chapter 3
    quadratic, entropy = (saturated[f"{name}: test accuracy after epochs 1, 5 and the last"] for name in COSTS)
    assert entropy[0] - quadratic[0] > 0.4


@pytest.mark.parametrize(("output", "wanted"), [(0.02, 1.0), (0.667, 0.5), (0.9, 0.0)])
def test_gradients_at_a_chosen_output_and_target_are_those_of_the_closed_forms(output, wanted):
    numbers = slowdown(LessonSettings(), output, wanted).numbers
    assert numbers[f"quadratic gradient at {output:g}"] == pytest.approx((output - wanted) * output * (1 - output))
    assert numbers[f"cross-entropy gradient at {output:g}"] == pytest.approx(output - wanted)
    a = np.arange(1, 1000) / 1000
    slopes = (a - wanted) * a * (1 - a)
    assert abs(numbers["largest quadratic gradient"]) == pytest.approx(np.abs(slopes).max())


def test_outputs_that_begin_at_one_half_are_learned_with_both_costs():
    numbers = saturated(LessonSettings(small=True), 0.0).numbers
    quadratic, entropy = (numbers[f"{name}: test accuracy after epochs 1, 5 and the last"] for name in COSTS)
    assert abs(quadratic[-1] - entropy[-1]) < 0.05


def test_the_answers_of_the_exercises():
    gradient, entropy = GUIDE.exercises

    def cost(z):
        return (1 / (1 + np.exp(-z))) ** 2 / 2

    z = np.log(0.9 / 0.1)
    assert gradient.answer == pytest.approx((cost(z + 1e-5) - cost(z - 1e-5)) / 2e-5, abs=1e-8)
    assert entropy.answer == pytest.approx(-np.log(0.5), abs=entropy.tolerance / 2)
