"""Models and cases made again with one thing changed."""

from dataclasses import replace

import torch

from pellucid.doctor.mending import rebuilt, with_rate
from pellucid.doctor.remade import copied, remade
from pellucid.optim import SGD, Adam
from pellucid.optim.regularizers import L2
from pellucid.optim.schedules import OneCycle
from tests.doctor.examined import case, conv_net, dense_net, model

OPTIONS = {
    "optimizer": Adam(0.02), "regularizer": L2(1e-3), "schedule": OneCycle(), "clip": 1.0, "seed": 7,
    "classes": ("a", "b", "c", "d"), "preprocess": {"mean": [0.1], "std": [0.5]},
}  # fmt: skip


def test_remade_is_the_model_before_its_first_step() -> None:
    it = model(**OPTIONS)
    it.freeze("dense1.bias")
    it.scale_rate("dense2.*", 0.5)
    begun = it.sha256()
    it.weights["dense1.weight"].zero_()
    new = remade(it)
    assert new.sha256() == begun
    for name in ("optimizer", "regularizers", "schedule", "clip", "classes", "preprocess", "frozen", "rates", "seed"):
        assert getattr(new, name) == getattr(it, name)


def test_changes_are_taken() -> None:
    new = remade(model(**OPTIONS), optimizer=SGD(0.3), net=conv_net())
    assert new.optimizer == SGD(0.3)
    assert "conv1.weight" in new.weights


def test_a_copy_has_weights_of_its_own() -> None:
    it = model()
    new = copied(it)
    new.weights["dense1.weight"].zero_()
    assert it.weights["dense1.weight"].abs().sum() > 0
    assert new.net is it.net


def test_another_rate_begins_with_the_same_weights() -> None:
    it = case(epochs=2)
    new = with_rate(it, 0.1)
    assert new.model.optimizer.lr == it.model.optimizer.lr * 0.1
    assert new.model.sha256() == it.first.sha256() != it.model.sha256()
    assert new.begin().sha256() == it.first.sha256()
    assert (new.history, new.stopped) == (None, "")
    assert (new.batch_size, new.train) == (it.batch_size, it.train)


def test_other_weights_at_the_beginning_are_kept() -> None:
    begun = model()
    begun.weights["dense1.weight"].fill_(0.5)
    it = replace(case(), begin=lambda: copied(begun))
    assert bool((rebuilt(it, clip=1.0).model.weights["dense1.weight"] == 0.5).all())


def test_another_network_draws_its_own() -> None:
    new = rebuilt(case(), net=dense_net()).model
    assert torch.equal(new.weights["dense1.weight"], model().weights["dense1.weight"])
