"""The perceptron: gates compared with truth tables, and XOR with a linear program and the published error."""

from itertools import product

import numpy as np
import pytest
from scipy.optimize import linprog

from pellucid.lessons import LessonSettings
from pellucid.lessons.perceptron import GUIDE, adder, gates, one_line_fails, xor

BITS = list(product((0, 1), repeat=2))


def test_gates_are_learned():
    numbers = gates(LessonSettings()).numbers
    truth_tables = {
        "AND": [a and b for a, b in BITS],
        "OR": [a or b for a, b in BITS],
        "NAND": [int(not (a and b)) for a, b in BITS],
    }
    for name, truth_table in truth_tables.items():
        result = numbers[name]
        assert result["outputs"] == truth_table
        sums = np.array(BITS) @ result["weights"] + result["bias"]
        assert (sums > 0).astype(int).tolist() == truth_table
        assert result["mistakes by epoch"][-1] == 0


def test_a_circuit_of_nand_gates_adds_two_bits():
    numbers = adder(LessonSettings()).numbers
    assert numbers["nand"] == [int(not (a and b)) for a, b in BITS]
    assert [2 * c + s for c, s in zip(numbers["carry"], numbers["sum"], strict=True)] == [a + b for a, b in BITS]


def is_separable(labels: tuple[int, ...]) -> bool:
    """Return whether a line separates the labels, with weighted sums of at least 1 or at most -1."""
    signs = np.where(labels, -1.0, 1.0)
    rows = signs[:, None] * np.column_stack([BITS, np.ones(4)])
    return linprog(np.zeros(3), rows, -np.ones(4), bounds=(None, None)).status == 0


def test_xor_is_not_separable():
    assert not is_separable((0, 1, 1, 0))
    assert is_separable((0, 1, 0, 0))  # one label changed
    numbers = one_line_fails(LessonSettings()).numbers
    assert numbers["best line"] == 3
    assert numbers["fewest mistakes in an epoch"] > 0


def test_moved_points_of_xor_can_be_separable():
    inputs = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.25, 0.25))  # exact in binary, so that ties are ties
    numbers = one_line_fails(LessonSettings(), w1=2.0, w2=2.0, bias=-1.0, inputs=inputs).numbers
    weights, epochs = np.zeros(3), 0
    mistakes = 1
    while mistakes:
        mistakes = 0
        for (a, b), target in zip(inputs, (0, 1, 1, 0), strict=True):
            error = target - (weights @ [a, b, 1] > 0)
            weights += error * np.array([a, b, 1])
            mistakes += error != 0
        epochs += 1
    assert numbers == {"epochs": epochs, "fewest mistakes in an epoch": 0, "best line": 4, "your line": 4}


@pytest.mark.parametrize("line", [(-2.0, 1.0, 0.0), (-2.0, -2.0, 3.0), (2.0, 2.0, -3.0)])
def test_a_chosen_line_is_right_for_as_many_inputs_as_by_hand(line):
    n_right = sum((line[0] * a + line[1] * b + line[2] > 0) == (a != b) for a, b in BITS)
    assert one_line_fails(LessonSettings(), *line).numbers["your line"] == n_right


def test_the_rule_is_that_of_numpy_after_each_epoch():
    weights = np.zeros(3)  # the bias is the last one
    for epochs in range(1, 7):
        for a, b in BITS:
            weights += ((a and b) - (weights @ [a, b, 1] > 0)) * np.array([a, b, 1])
        result = gates(LessonSettings(), epochs).numbers["AND"]
        assert [*result["weights"], result["bias"]] == weights.tolist()


def test_one_hidden_neuron_does_not_suffice():
    assert (
        xor(LessonSettings(small=True), hidden=1).numbers["median"] > 0.1
    )  # best: two inputs with output 1/2, error 1/8
    assert xor(LessonSettings(small=True), hidden=2).numbers["median"] < 0.001


def test_the_answers_of_the_exercises():
    bias, tables = GUIDE.exercises
    biases = [b for b in range(-5, 6) if [int(i + j + b > 0) for i, j in BITS] == [i and j for i, j in BITS]]
    assert biases == [bias.answer]
    assert tables.answer == sum(is_separable(table) for table in product((0, 1), repeat=4))


def test_a_hidden_layer_learns_xor():
    assert xor(LessonSettings(small=True)).numbers["median"] < 0.0005


@pytest.mark.lessons
@pytest.mark.real
def test_the_median_of_ten_seeds_reaches_the_published_error():
    numbers = xor(LessonSettings()).numbers
    assert len(numbers["mean squared errors"]) == 10
    assert np.median(numbers["mean squared errors"]) == pytest.approx(numbers["median"])
    assert numbers["median"] < 0.0005
