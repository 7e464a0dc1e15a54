"""Model.compile with the arguments of Keras."""

import numpy as np
import pytest
import torch

from pellucid import SGD, Dense, Model, PellucidError, Sequential, Softmax
from pellucid.losses import Quadratic

X, Y = np.random.default_rng(0).random((20, 3)), np.arange(20) % 2


def test_a_compiled_model_equals_one_with_constructor_arguments() -> None:
    compiled, constructed = Model(Sequential(Dense(2))), Model(Sequential(Dense(2)), "quadratic", SGD(0.1), ["mae"])
    compiled.compile(SGD(0.1), "quadratic", metrics=["mae"])
    histories = [model.fit(X, Y, epochs=2, verbose=False) for model in (compiled, constructed)]
    assert histories[0]["train_mae"] == histories[1]["train_mae"]
    assert isinstance(compiled.loss, Quadratic)
    before = compiled["dense1"].params["weight"].clone()
    compiled.compile()
    assert torch.equal(compiled["dense1"].params["weight"], before)
    assert "accuracy" in compiled.evaluate(X, Y)


def test_invalid_arguments_of_compile_leave_the_model_unchanged() -> None:
    model = Model(Sequential(Dense(2), Softmax()), "quadratic")
    with pytest.raises(PellucidError, match="contains it"):
        model.compile("sgd", "softmax_cross_entropy")
    assert isinstance(model.loss, Quadratic)
    with pytest.raises(PellucidError, match="no optimizer 'sgdd'"):
        model.compile("sgdd")
