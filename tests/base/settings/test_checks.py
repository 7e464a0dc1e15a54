"""Checks of arguments: errors of one line with the argument, the accepted values and the given value."""

import math

import numpy as np
import pytest

from pellucid.base.errors import PellucidError
from pellucid.base.settings import checks


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (1, True),
        (0.5, True),
        (np.float64(2), True),
        (True, False),
        (math.nan, False),
        (-math.inf, False),
        (10**400, False),
        ("1", False),
        (None, False),
    ],
)
def test_only_finite_numbers_other_than_bools_pass(value: object, result: bool):
    assert checks.is_number(value) == result


FAILING_CHECKS = {
    "f: n must be a whole number of at least 0, not 0.5": lambda: checks.check_whole("f", 0, n=0.5),
    "f: n must be True or False, not 30; the input size is not an argument": lambda: checks.check_flag("f", n=30),
    "f: by must be one of mean, sum, not 'means'; did you mean 'mean'?": lambda: checks.check_choice(
        "f", ("mean", "sum"), by="means"
    ),
    "f: a must be a number above 0 and below 1, not 1": lambda: checks.check_range("f", 0, 1, True, b=0.5, a=1),
    "f: a must be a number from 0 to 1, not 2": lambda: checks.check_within("f", 0, 1, a=2),
    "f: a must consist of numbers above 0, not (1, (0,))": lambda: checks.check_above_zero("f", math.inf, a=(1, (0,))),
    "no way 'lft'; did you mean 'left'?; known: left, right": lambda: checks.check_known(
        "no way", "lft", ("left", "right")
    ),
    "no way 3; known: none": lambda: checks.check_known("no way", 3, ()),
    "n must be a whole number of at most 9, not 10": lambda: checks.integer(10, "n", 1, 9),
    "n must be a whole number of at least 1, not True": lambda: checks.integer(True, "n", 1),
    "part is the class dict; give an object of it, such as dict(...)": lambda: checks.instance(dict, int, "part"),
    "parts[1] must be of the class int, not 'x'": lambda: checks.instances([1, "x"], int, "parts"),
}


@pytest.mark.parametrize("message", FAILING_CHECKS)
def test_messages_name_the_argument_and_the_value(message: str):
    with pytest.raises(PellucidError) as error:
        FAILING_CHECKS[message]()
    assert str(error.value) == message
