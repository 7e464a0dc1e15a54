"""Runs with the layer names of an earlier version are resumed and examined with these names."""

import pytest

from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.doctor.run_case import case_of_run
from pellucid.layers import Add, Concat, Dense, Flatten, ReLU, Tanh
from pellucid.recipe.job import train
from pellucid.recipe.recipe import Recipe
from pellucid.recipe.resume import resume
from pellucid.run.described import unnamed_structure
from pellucid.training import loop
from pellucid.training.step import TrainingStep
from tests.training.small import Stopped

TRAIN_SETTINGS = {"train.epochs": 2, "train.checkpoint_seconds": 1e-9}


def replace_network(patch, net):
    """Make every recipe build `net` as its network."""
    build = Recipe.build
    patch.setattr(Recipe, "build", lambda self, table: net if table == "network" else build(self, table))


def train_with_old_names(out, units=64, stop_step=None, net=None):
    """Train `digits` on the network with its earlier layer names; raise Stopped in step `stop_step`, None for never."""
    original_step, steps_taken = TrainingStep.__call__, []

    def count_step(self, *args):
        steps_taken.append(1)
        if len(steps_taken) == stop_step:
            raise Stopped
        return original_step(self, *args)

    net = net or Sequential(
        flatten=Flatten(), dense1=Dense(units, init_weight="he"), relu1=ReLU(), dense2=Dense(10, init_weight="he")
    )
    with pytest.MonkeyPatch.context() as patch:
        replace_network(patch, net)
        patch.setattr(TrainingStep, "__call__", count_step)
        return train("digits", out=out, progress=False, **TRAIN_SETTINGS)


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_an_interrupted_run_with_other_layer_names_is_resumed_exactly(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "TICK", 0.0)  # a checkpoint is written at each check of the parameters
    uninterrupted = train_with_old_names(tmp_path / "whole")
    with pytest.raises(Stopped):
        train_with_old_names(tmp_path / "broken", stop_step=60)
    run = resume(tmp_path / "broken/digits-1", progress=False)
    assert run.metrics["sha256"] == uninterrupted.metrics["sha256"]
    assert "dense1.weight" in run.model.weights


def all_combinators(left="left", right="right", a="a", b="b", heads=("one", "two"), swapped=False):
    """Return a network with every combinator; arguments change layer names or the wiring of the graph."""
    parallel = Parallel({left: Dense(16, init_weight="he"), right: Sequential(x=Dense(16), y=ReLU())}, Add())
    nodes = {a: (Dense(16), "input"), b: (ReLU(), a), f"{b}2": (a, b), "joined": (Concat(), b, f"{b}2")}
    if swapped:
        nodes["joined"] = (Concat(), f"{b}2", b)
    heads_net = Sequential(fork=Fork(**{name: Dense(10) for name in heads}), shared=Shared(Tanh()), sum=Add())
    return Sequential(flat=Flatten(), twigs=parallel, graph=Graph(nodes, ("joined",)), both=heads_net)


def test_layer_names_inside_combinators_are_ignored_and_other_differences_are_refused():
    old, renamed = all_combinators(), all_combinators("short", "long", "c", "d", ("x", "y"))
    assert old != renamed
    assert unnamed_structure(old) == unnamed_structure(renamed)
    assert unnamed_structure(old) != unnamed_structure(all_combinators(swapped=True))
    assert unnamed_structure(Parallel((Dense(3), ReLU()), Add())) != unnamed_structure(
        Parallel((Dense(3), ReLU()), Concat())
    )
    assert unnamed_structure(Parallel((Dense(3), ReLU()), Add())) != unnamed_structure(
        Parallel((ReLU(), Dense(3)), Add())
    )
    assert unnamed_structure(Shared(ReLU())) != unnamed_structure(ReLU())


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_run_with_renamed_layers_in_parallel_and_graph_is_resumed_exactly(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "TICK", 0.0)  # a checkpoint is written at each check of the parameters
    uninterrupted = train_with_old_names(tmp_path / "whole", net=all_combinators())
    with pytest.raises(Stopped):
        train_with_old_names(tmp_path / "broken", stop_step=60, net=all_combinators())
    replace_network(monkeypatch, all_combinators("short", "long", "c", "d", ("x", "y")))
    run = resume(tmp_path / "broken/digits-1", progress=False)
    assert run.metrics["sha256"] == uninterrupted.metrics["sha256"]
    assert "twigs.left.weight" in run.model.weights
    replace_network(monkeypatch, all_combinators(swapped=True))
    with pytest.raises(PellucidError, match="was begun with other settings: network"):
        resume(tmp_path / "whole/digits-1", progress=False)


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_the_case_of_a_finished_run_has_the_layer_names_of_the_run(tmp_path):
    run = train_with_old_names(tmp_path)
    result = case_of_run(run.path).model.weights
    assert list(result) == ["dense1.weight", "dense1.bias", "dense2.weight", "dense2.bias"]
    assert all(bool((weight == result[path]).all()) for path, weight in run.model.weights.items())


@pytest.mark.usefixtures("no_report")
def test_a_different_network_is_refused(tmp_path):
    run = train_with_old_names(tmp_path, units=30)
    with pytest.raises(PellucidError, match="was begun with other settings: network"):
        resume(run.path, progress=False)
    with pytest.raises(PellucidError, match="does not match the network of"):
        case_of_run(run.path)
