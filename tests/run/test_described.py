"""Runs begun by a version that named a network's layers otherwise are resumed and examined under these names."""

import pytest

from pellucid.combine import Sequential
from pellucid.errors import PellucidError
from pellucid.layers import Dense, Flatten, ReLU
from pellucid.recipe.doctor_case import case_of_run
from pellucid.recipe.job import resume, train
from pellucid.recipe.recipe import Recipe
from pellucid.training import fit
from pellucid.training.step import Step
from tests.training.small import Stopped

SETTINGS = {"train.epochs": 2, "train.checkpoint_seconds": 1e-9}


def begin(out, units=64, steps=None):
    """Train `digits` on the network as it was, for some steps or all."""
    build, step, taken = Recipe.build, Step.__call__, []

    def count(self, *args):
        taken.append(1)
        if len(taken) == steps:
            raise Stopped
        return step(self, *args)

    net = Sequential(
        flatten=Flatten(), dense1=Dense(units, init_weight="he"), relu1=ReLU(), dense2=Dense(10, init_weight="he")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recipe, "build", lambda self, table: net if table == "network" else build(self, table))
        patch.setattr(Step, "__call__", count)
        return train("digits", out=out, progress=False, **SETTINGS)


def test_an_interrupted_run_goes_on_exactly(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "TICK", 0.0)
    whole = begin(tmp_path / "whole")
    with pytest.raises(Stopped):
        begin(tmp_path / "broken", steps=60)
    run = resume(tmp_path / "broken/digits-1", progress=False)
    assert run.metrics["sha256"] == whole.metrics["sha256"]
    assert "dense1.weight" in run.model.weights


def test_the_doctor_takes_a_finished_one(tmp_path):
    run = begin(tmp_path)
    found = case_of_run(run.path).model.weights
    assert list(found) == ["dense1.weight", "dense1.bias", "dense2.weight", "dense2.bias"]
    assert all(bool((weight == found[path]).all()) for path, weight in run.model.weights.items())


def test_a_network_of_other_layers_is_still_refused(tmp_path):
    run = begin(tmp_path, units=30)
    with pytest.raises(PellucidError, match="was begun with another network"):
        resume(run.path, progress=False)
    with pytest.raises(PellucidError, match="does not hold the network of"):
        case_of_run(run.path)
