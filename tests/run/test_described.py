"""Runs begun by a version that named a network's layers otherwise are resumed and examined under these names."""

import pytest

from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.errors import PellucidError
from pellucid.layers import Add, Concat, Dense, Flatten, ReLU, Tanh
from pellucid.recipe.doctor_case import case_of_run
from pellucid.recipe.job import train
from pellucid.recipe.recipe import Recipe
from pellucid.recipe.resume import resume
from pellucid.run.described import unnamed
from pellucid.training import fit
from pellucid.training.step import TrainingStep
from tests.training.small import Stopped

SETTINGS = {"train.epochs": 2, "train.checkpoint_seconds": 1e-9}


def replaced(patch, net):
    """Let recipes build this network."""
    build = Recipe.build
    patch.setattr(Recipe, "build", lambda self, table: net if table == "network" else build(self, table))


def begin(out, units=64, steps=None, net=None):
    """Train `digits` on the network as it was, for some steps or all."""
    step, taken = TrainingStep.__call__, []

    def count(self, *args):
        taken.append(1)
        if len(taken) == steps:
            raise Stopped
        return step(self, *args)

    net = net or Sequential(
        flatten=Flatten(), dense1=Dense(units, init_weight="he"), relu1=ReLU(), dense2=Dense(10, init_weight="he")
    )
    with pytest.MonkeyPatch.context() as patch:
        replaced(patch, net)
        patch.setattr(TrainingStep, "__call__", count)
        return train("digits", out=out, progress=False, **SETTINGS)


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_an_interrupted_run_is_resumed_exactly(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "TICK", 0.0)
    whole = begin(tmp_path / "whole")
    with pytest.raises(Stopped):
        begin(tmp_path / "broken", steps=60)
    run = resume(tmp_path / "broken/digits-1", progress=False)
    assert run.metrics["sha256"] == whole.metrics["sha256"]
    assert "dense1.weight" in run.model.weights


def wired(left="left", right="right", a="a", b="b", heads=("one", "two"), swapped=False):
    """A network of every combinator, whose layers may have other names and whose graph may be wired otherwise."""
    twigs = Parallel({left: Dense(16, init_weight="he"), right: Sequential(x=Dense(16), y=ReLU())}, Add())
    nodes = {a: (Dense(16), "input"), b: (ReLU(), a), f"{b}2": (a, b), "joined": (Concat(), b, f"{b}2")}
    if swapped:
        nodes["joined"] = (Concat(), f"{b}2", b)
    both = Sequential(fork=Fork(**{name: Dense(10) for name in heads}), shared=Shared(Tanh()), sum=Add())
    return Sequential(flat=Flatten(), twigs=twigs, graph=Graph(nodes, ("joined",)), both=both)


def test_layer_names_inside_combinators_are_ignored_and_other_differences_are_refused():
    old, renamed = wired(), wired("short", "long", "c", "d", ("x", "y"))
    assert old != renamed
    assert unnamed(old) == unnamed(renamed)
    assert unnamed(old) != unnamed(wired(swapped=True))
    assert unnamed(Parallel((Dense(3), ReLU()), Add())) != unnamed(Parallel((Dense(3), ReLU()), Concat()))
    assert unnamed(Parallel((Dense(3), ReLU()), Add())) != unnamed(Parallel((ReLU(), Dense(3)), Add()))
    assert unnamed(Shared(ReLU())) != unnamed(ReLU())


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_run_whose_layers_were_renamed_inside_parallel_and_graph_goes_on_exactly(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "TICK", 0.0)
    whole = begin(tmp_path / "whole", net=wired())
    with pytest.raises(Stopped):
        begin(tmp_path / "broken", steps=60, net=wired())
    replaced(monkeypatch, wired("short", "long", "c", "d", ("x", "y")))
    run = resume(tmp_path / "broken/digits-1", progress=False)
    assert run.metrics["sha256"] == whole.metrics["sha256"]
    assert "twigs.left.weight" in run.model.weights
    replaced(monkeypatch, wired(swapped=True))
    with pytest.raises(PellucidError, match="was begun with other settings: network"):
        resume(tmp_path / "whole/digits-1", progress=False)


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_the_doctor_accepts_a_finished_run(tmp_path):
    run = begin(tmp_path)
    result = case_of_run(run.path).model.weights
    assert list(result) == ["dense1.weight", "dense1.bias", "dense2.weight", "dense2.bias"]
    assert all(bool((weight == result[path]).all()) for path, weight in run.model.weights.items())


@pytest.mark.usefixtures("no_report")
def test_a_network_of_other_layers_is_still_refused(tmp_path):
    run = begin(tmp_path, units=30)
    with pytest.raises(PellucidError, match="was begun with other settings: network"):
        resume(run.path, progress=False)
    with pytest.raises(PellucidError, match="does not match the network of"):
        case_of_run(run.path)
