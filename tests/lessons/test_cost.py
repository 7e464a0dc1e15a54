"""The cost function: closed forms of the gradients, and the accuracies of the book."""

from collections.abc import Callable

import pytest

from pellucid.lessons import Lesson, Setting, lesson
from pellucid.lessons.cost import slowdown

COSTS = ("quadratic", "cross-entropy")


def test_the_gradients_are_those_of_the_closed_forms():
    numbers = slowdown(Setting()).numbers
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
