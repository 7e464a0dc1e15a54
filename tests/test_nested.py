"""Conversion of nested dicts of parameters to flat dicts and lists, and back."""

import torch

from pellucid.layers.base import Params
from pellucid.nested import flatten, leaves, map_tree, nest, params_at


def tree() -> Params:
    return {
        "block": {"conv": {"weight": torch.tensor(1.0), "bias": torch.tensor(2.0)}, "relu": {}},
        "norm": {"weight": torch.tensor(3.0), "mean": torch.tensor(4.0)},
        "scale": torch.tensor(5.0),
    }


def test_flatten_names_leaves_by_path_in_order() -> None:
    flat = flatten(tree())
    assert list(flat) == ["block.conv.weight", "block.conv.bias", "norm.weight", "norm.mean", "scale"]
    assert [leaf.item() for leaf in flat.values()] == [1, 2, 3, 4, 5]


def test_flatten_returns_the_same_tensor_objects() -> None:
    params = tree()
    flatten(params)["block.conv.weight"].add_(10)
    assert params["block"]["conv"]["weight"].item() == 11


def test_nest_restores_the_nesting_with_empty_dicts() -> None:
    params = tree()
    assert nest(params, flatten(params)) == params
    assert nest(params, flatten(params))["block"]["relu"] == {}
    assert nest({}, {}) == {}


def test_map_tree_keeps_the_nesting() -> None:
    params = tree()
    doubled = map_tree(lambda leaf: leaf * 2, params)
    assert [leaf.item() for leaf in flatten(doubled).values()] == [2, 4, 6, 8, 10]
    assert doubled["block"]["relu"] == {}
    assert params["scale"].item() == 5


def test_leaves_are_in_the_order_of_the_tree() -> None:
    assert [leaf.item() for leaf in leaves(tree())] == [1, 2, 3, 4, 5]
    assert leaves({"relu": {}}) == []


def test_parameters_are_found_also_below_names_with_dots() -> None:
    dotted: Params = {"d1": {"conv": {"weight": torch.tensor(1.0)}}, "d1.1": {"mean": torch.tensor(2.0)}, "d1.2.a": {}}
    assert params_at(dotted, "") is dotted
    assert params_at(dotted, "d1.conv")["weight"].item() == 1
    assert params_at(dotted, "d1.1")["mean"].item() == 2
    assert params_at(dotted, "d1.2.a") == params_at(dotted, "d2") == {}
