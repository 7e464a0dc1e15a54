"""Networks are restored exactly from JSON, and invalid configurations are refused."""

import json
import random

import pytest
from hypothesis import given, settings

from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared, walk
from pellucid.extend import config
from pellucid.extend.config import from_config, loss_from_config, to_config
from pellucid.layers import LAYERS, Add, BatchNorm, Conv2d, Dense, Identity, ReLU, Upsample
from pellucid.layers.base import Layer
from pellucid.losses import LOSSES, Huber, SoftmaxCrossEntropy
from tests.cases import each_sample
from tests.combine.random_networks import networks
from tests.layers.samples import SAMPLES


def json_round_trip(layer):
    return from_config(json.loads(json.dumps(to_config(layer))))


def test_the_samples_cover_every_layer():
    assert {type(sample.layer) for sample in SAMPLES} == set(LAYERS)


@each_sample(SAMPLES)
def test_every_layer_is_restored_from_json(sample):
    assert json_round_trip(sample.layer) == sample.layer


@given(network=networks())
@settings(max_examples=60)
def test_random_networks_are_restored_with_their_children_in_order(network):
    net, _ = network
    restored = json_round_trip(net)
    assert restored == net
    assert [path for path, _ in walk(restored)] == [path for path, _ in walk(net)]


def test_every_combinator_is_restored_from_json():
    net = Sequential(
        type=Conv2d(4, 3, padding="same"),  # a child may have the name of a key of configurations
        block=Parallel({"skip": Identity(), "body": Sequential(Conv2d(4, (3, 3), padding=1), BatchNorm())}, Add()),
        heads=Fork(a=Identity(), b=Identity()),
        shared=Shared(Upsample(2)),
        graph=Graph({"r": (ReLU(), "p"), "again": ("r", "q"), "type": (Add(), "r", "again")}, ("type",), ("p", "q")),
    )
    assert json_round_trip(net) == net


@pytest.mark.parametrize(
    "loss", [*(kind() for kind in LOSSES.values()), Huber(2.0), SoftmaxCrossEntropy(0.1, (1.0, 2.0))]
)
def test_every_loss_is_restored_from_json(loss):
    assert loss_from_config(json.loads(json.dumps(to_config(loss)))) == loss


def test_an_unregistered_layer_is_refused_by_name():
    class Mine(ReLU):
        pass

    with pytest.raises(PellucidError, match=r"Mine is not registered, so no file can name it; register it: pe"):
        to_config(Sequential(Mine()))


DENSE = {"type": "Dense", "units": 3}
INVALID_CONFIGS = {
    "not an object": [1, 2],
    "no type": {"units": 3},
    "type that is no text": {"type": ["Dense"], "units": 3},
    "module path": {"type": "os.system", "command": "true"},
    "abstract class": {"type": "Layer"},
    "loss": {"type": "Quadratic"},
    "builtin": {"type": "eval"},
    "unknown field": {**DENSE, "unit": 3},
    "dunder field": {**DENSE, "__class__": "Dense"},
    "missing field": {"type": "Dense"},
    "text for a number": {**DENSE, "units": "3"},
    "float for a whole number": {**DENSE, "units": 3.0},
    "bool for a whole number": {**DENSE, "units": True},
    "number for a bool": {**DENSE, "bias": 1},
    "null": {**DENSE, "units": None},
    "object for a number": {**DENSE, "units": {}},
    "huge number": {**DENSE, "units": 10**12},
    "NaN": {"type": "Dropout", "rate": float("nan")},
    "value that the layer refuses": {**DENSE, "units": 0},
    "initializer that does not exist": {**DENSE, "init_weight": "__import__"},
    "three numbers for a pair": {"type": "Conv2d", "filters": 1, "kernel": [1, 2, 3]},
    "children that are no layers": {"type": "Sequential", "children": {"a": 3}},
    "children in a list": {"type": "Sequential", "children": [DENSE]},
    "a dot in a name": {"type": "Sequential", "children": {"a.b": DENSE}},
    "a loss as a child": {"type": "Sequential", "children": {"a": {"type": "Quadratic"}}},
    "a node without a layer": {"type": "Graph", "nodes": {"a": []}, "outputs": ["a"]},
    "a node that reads nothing known": {"type": "Graph", "nodes": {"a": [DENSE, "b"]}, "outputs": ["a"]},
    "a node of numbers": {"type": "Graph", "nodes": {"a": [1, "input"]}, "outputs": ["a"]},
}


@pytest.mark.parametrize("given_config", INVALID_CONFIGS.values(), ids=INVALID_CONFIGS)
def test_configurations_that_are_not_networks_are_refused_in_one_line(given_config):
    with pytest.raises(PellucidError) as caught:
        from_config(given_config)
    assert "\n" not in str(caught.value)


def test_an_unknown_type_names_the_nearest():
    with pytest.raises(PellucidError, match=r"no layer is called 'Conv3d'; did you mean 'Conv2d'\?"):
        from_config({"type": "Conv3d"})


def test_the_error_names_the_path_in_the_configuration():
    with pytest.raises(PellucidError, match=r"network\.Sequential\.children\.b\.Dense: the field 'units' is missing"):
        from_config({"type": "Sequential", "children": {"a": DENSE, "b": {"type": "Dense"}}})


def nested_config(depth):
    config = {"type": "ReLU"}
    for _ in range(depth):
        config = {"type": "Sequential", "children": {"a": config}}
    return config


def test_networks_nested_too_deeply_are_refused():
    assert isinstance(from_config(nested_config(40)), Layer)
    with pytest.raises(PellucidError, match="more than 128 levels"):
        from_config(nested_config(200))


def test_too_many_layers_or_values_are_refused(monkeypatch):
    monkeypatch.setattr(config, "MAX_DESCRIBED_LAYERS", 5)
    with pytest.raises(PellucidError, match="more than 5 layers"):
        from_config({"type": "Sequential", "children": {f"a{k}": {"type": "ReLU"} for k in range(6)}})
    monkeypatch.setattr(config, "MAX_DESCRIBED_VALUES", 5)
    with pytest.raises(PellucidError, match="more than 5 values"):
        from_config({"type": "Conv2d", "filters": 1, "kernel": list(range(9))})


def test_a_thousand_mutations_give_a_network_or_one_line():
    rng = random.Random(0)
    replacements = [
        None,
        True,
        -1,
        0,
        2**40,
        1e308,
        "",
        "Dense",
        "type",
        [],
        {},
        [[]],
        {"type": "ReLU"},
        "\ud800",
        "a\nb",
    ]

    def mutate(value):
        if rng.random() < 0.08:
            return rng.choice(replacements)
        if isinstance(value, dict):
            return {
                (rng.choice(["type", "x", key]) if rng.random() < 0.05 else key): mutate(v) for key, v in value.items()
            }
        return [mutate(one) for one in value] if isinstance(value, list) else value

    valid_config = to_config(
        Sequential(Conv2d(4, 3), block=Parallel((Identity(), Sequential(ReLU())), Add()), end=Dense(3))
    )
    outcomes = set()
    for _ in range(1000):
        try:
            outcomes.add(isinstance(from_config(mutate(valid_config)), Layer))
        except PellucidError as error:
            outcomes.add(f"refused in {len(str(error).splitlines())} line")
    assert outcomes == {True, "refused in 1 line"}
