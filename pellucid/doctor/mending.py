"""Cases with one thing changed: what remedies are made of."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pellucid.doctor.case import Case
from pellucid.doctor.remade import remade
from pellucid.training.model import BaseModel
from pellucid.tree import flatten


def with_rate(case: Case, factor: float) -> Case:
    """Return the case with the learning rate times `factor`."""
    optimizer = case.model.optimizer
    return rebuilt(case, optimizer=replace(optimizer, lr=optimizer.lr * factor))


def rebuilt(case: Case, keep: bool = False, **changes: Any) -> Case:
    """Return the case of a model with other arguments (`Model`'s own: net, optimizer, regularizer, preprocess, ...).

    It begins with the same weights unless the network is another one; then they are drawn anew.
    keep: whether another network takes over the weights of the same path and shape. The model of the new case is the
    one before its first step.
    """

    def begin() -> BaseModel:
        old = case.begin()
        new = remade(old, **changes)
        if keep or "net" not in changes:
            held = flatten(old.params)
            for path, value in flatten(new.params).items():
                if path in held and held[path].shape == value.shape:
                    value.copy_(held[path])
        return new

    epochs = case.epochs or (0 if case.history is None else len(case.history))
    return replace(case, model=begin(), begin=begin, epochs=epochs, history=None, stopped="", steps=0)


def begun(case: Case, alter: Callable[[BaseModel], object]) -> Case:
    """Return the case whose model is altered before its first step."""
    mended = rebuilt(case)

    def begin() -> BaseModel:
        model = mended.begin()
        model.frozen, model.rates = set(model.frozen), dict(model.rates)
        alter(model)
        return model

    return replace(mended, model=begin(), begin=begin)
