"""A frozen layer returns dx to trained layers before it, and its parameters stay unchanged."""

import copy

import pytest
import torch

from pellucid.combine import Graph, Parallel, Sequential, walk
from pellucid.fuse import freeze, fuse
from pellucid.fuse.activations import FusedActivation
from pellucid.fuse.frozen import FrozenLayer, FrozenNorm
from pellucid.fuse.inference import inference
from pellucid.fuse.kernel_form import KernelForm
from pellucid.fuse.single_layers import FusedConv2d
from pellucid.fuse.start import EntranceLayer, FrozenEntrance
from pellucid.layers import (
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Identity,
    Layer,
    LayerNorm,
    Mode,
    ReLU,
)
from pellucid.sweep import backward
from tests.oracle import Sample, assert_close, autograd, cast, cotangent, leaves, tree_map
from tests.references import reference_forward


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("layer", [Dense(4), Conv2d(3, 2), BatchNorm(epsilon=0.1), LayerNorm(), Dropout()], ids=repr)
def test_a_frozen_layer_has_the_dx_of_evaluation_and_no_gradients(layer: Layer, train: bool) -> None:
    params, x = Sample(layer, (5,) if isinstance(layer, Dense) else (2, 4, 5)).inputs()
    before = copy.deepcopy(params)
    frozen = FrozenLayer(layer)
    y, cache = frozen.forward(params, x, Mode(train, torch.Generator().manual_seed(0)))
    dy = cotangent(y)
    dx, dparams = frozen.backward(params, cache, dy)
    expected_y, expected_dx, _ = autograd(layer, params, x, Mode(), dy)
    assert_close(y, expected_y, 1e-12, "y")
    assert_close(leaves(dx), expected_dx, 1e-10, "dx")
    assert dparams == {}
    assert_close(params, before, 0.0, "params")


@pytest.mark.parametrize("overwrite_dy", [False, True])
@pytest.mark.parametrize("overwrite_x", [False, True])
@pytest.mark.parametrize("shape", [(4,), (4, 3, 5)])
def test_a_frozen_norm_caches_nothing_and_overwrites_only_the_tensors_that_it_may(
    shape: tuple[int, ...], overwrite_x: bool, overwrite_dy: bool
) -> None:
    norm = BatchNorm(epsilon=0.1)
    params, x = Sample(norm, shape).inputs()
    before, norm_x = copy.deepcopy(params), x.clone()
    frozen = FrozenNorm(norm, overwrite_x, overwrite_dy)
    y, cache = frozen.forward(params, norm_x, Mode(train=True))
    dy = cotangent(y)
    norm_dy = dy.clone()
    expected_y, expected_dx, _ = autograd(norm, params, x, Mode(), dy)
    assert leaves(cache) == {}
    assert_close(y, expected_y, 1e-12, "y")

    dx, dparams = frozen.backward(params, cache, norm_dy)

    assert_close(dx, expected_dx[""], 1e-12, "dx")
    assert dparams == {}
    assert_close(params, before, 0.0, "params")
    assert (y.data_ptr() == norm_x.data_ptr(), dx.data_ptr() == norm_dy.data_ptr()) == (overwrite_x, overwrite_dy)
    assert overwrite_x or torch.equal(norm_x, x)
    assert overwrite_dy or torch.equal(norm_dy, dy)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_frozen_norm_stays_in_bfloat16(overwrite: bool) -> None:
    norm = BatchNorm()
    params, x = Sample(norm, (4, 3, 5)).inputs()
    x16 = x.bfloat16()
    y, cache = FrozenNorm(norm, overwrite, overwrite).forward(cast(params, torch.float32), x16.clone(), Mode())
    dy = cotangent(x16)
    expected_y, expected_dx, _ = autograd(norm, params, x16.double(), Mode(), dy.double())
    dx, _ = FrozenNorm(norm, overwrite, overwrite).backward(cast(params, torch.float32), cache, dy.clone())
    assert y.dtype is dx.dtype is torch.bfloat16
    assert_close(y, expected_y, 0.01, "y")
    assert_close(dx, expected_dx[""], 0.01, "dx")


START = Sequential(
    conv=Conv2d(3, 3), norm=BatchNorm(), relu=ReLU(), body=Parallel((Identity(), Conv2d(3, 1)), Add()), drop=Dropout()
)
LEARNS = Sequential(conv=Conv2d(2, 3), norm=BatchNorm(), relu=ReLU(), flatten=Flatten(), dense=Dense(3))


def test_the_frozen_first_layers_cache_nothing() -> None:
    net = Sequential(start=START, learns=LEARNS)
    params, x = Sample(net, (2, 8, 7)).inputs()
    frozen = freeze(net, params, {path for path in leaves(params) if path.startswith("start")})
    before = copy.deepcopy(params["start"])
    fused = fuse(frozen)
    y, cache = fused.forward(params, x, Mode(True, torch.Generator().manual_seed(0)))
    assert leaves(cache["start"]) == {}
    assert_close(params["start"], before, 0.0, "params")
    hidden = START.forward(params["start"], x, Mode())[0]
    dy = cotangent(y)
    expected_y, _, expected = autograd(LEARNS, params["learns"], hidden, Mode(True), dy)
    assert_close(y, expected_y, 1e-11, "y")

    dx, dparams = backward(fused, params, cache, dy, consume=True)

    assert dx is None  # the first trained convolution omits it
    assert "start" not in dparams
    assert_close(leaves(dparams["learns"]), expected, 1e-10, "dparams")


def branching(start: Layer, trained: Layer) -> Graph:
    """Return a graph: `start`, a convolution and a ReLU, read by `trained` and another convolution; all are summed."""
    nodes = {
        "start": (start, "input"), "next": (Conv2d(2, 1), "start"), "relu": (ReLU(), "next"),
        "one": (trained, "relu"), "other": (Conv2d(2, 1), "relu"), "both": (Add(), "relu", "next"),
        "sum": (Add(), "one", "other", "both"),
    }  # fmt: skip
    return Graph(nodes, ("sum",))


def test_a_graph_computes_no_gradient_before_its_first_trained_layers() -> None:
    net = branching(START, Conv2d(2, 1))
    params, x = Sample(net, (2, 8, 7)).inputs()
    trained_paths = {"one.weight", "one.bias", "other.weight", "other.bias"}
    fused = fuse(freeze(net, params, leaves(params).keys() - trained_paths))
    layers = dict(walk(fused))
    assert type(layers["next.start"]) is type(layers["next.next"]) is FrozenEntrance  # in one chain
    assert type(layers["relu.relu"]) is type(layers["both.both"]) is EntranceLayer
    assert not layers["one.one"].need_dx
    y, cache = fused.forward(params, x, Mode(True, torch.Generator().manual_seed(0)))
    dy = cotangent(y)
    expected_y, _, expected = autograd(net, params, x, Mode(), dy)
    assert_close(y, expected_y, 1e-11, "y")
    dx, dparams = backward(fused, params, cache, dy, consume=True)
    assert dx is None
    leaves_by_path = leaves(dparams)
    assert leaves_by_path.keys() == trained_paths
    assert_close(leaves_by_path, {path: expected[path] for path in trained_paths}, 1e-10, "dparams")


def test_a_frozen_network_with_need_dx_returns_dx() -> None:
    net = Graph({"one": (Conv2d(2, 1), "a"), "sum": (Add(), "one", "b")}, ("sum",), ("a", "b"))
    params, x = Sample(net, ((2, 3, 3), (2, 3, 3))).inputs()
    fused = fuse(freeze(net, params, leaves(params)), need_dx=True)
    y, cache = fused.forward(params, x, Mode(True))
    dx, dparams = backward(fused, params, cache, dy := cotangent(y), consume=True)
    _, expected, _ = autograd(net, params, x, Mode(), dy)
    assert_close(leaves(dx), expected, 1e-10, "dx")
    assert leaves(dparams) == {}


def test_the_first_trained_layer_after_frozen_ones_computes_no_dx() -> None:
    net = Sequential(one=Conv2d(3, 1), other=Conv2d(3, 1), learns=Conv2d(2, 1))
    params, _ = Sample(net, (2, 4, 4)).inputs()
    fused = fuse(freeze(net, params, {"one.weight", "one.bias", "other.weight", "other.bias"}))
    types = [type(layer) for layer in fused.layers.values()]
    assert types == [FrozenEntrance, FrozenEntrance, FusedConv2d]
    assert not fused.layers["learns"].need_dx


def test_other_parameters_rebuild_the_prediction_function() -> None:
    params, x = Sample(START, (2, 8, 7)).inputs()
    changed_params = tree_map(lambda leaf: leaf + 0.1, params)
    start = FrozenEntrance(START)
    for current_params in (params, params, changed_params, params):
        y, cache = start.forward(current_params, x, Mode(True))
        assert_close(y, reference_forward(START, current_params, x, Mode()), 1e-12, "y")
        assert start.backward(current_params, cache, y) == (None, {})


def test_parameters_changed_in_place_rebuild_the_prediction_function() -> None:
    params, x = Sample(START, (2, 8, 7)).inputs()
    start = FrozenEntrance(START)
    for path in [*leaves(params), "conv.weight"]:
        leaves(params)[path].mul_(1.5)
        assert_close(start.forward(params, x, Mode(True))[0], reference_forward(START, params, x, Mode()), 1e-12, path)
    params["conv"]["weight"] = params["conv"]["weight"] + 1  # another tensor in the same dict
    assert_close(start.forward(params, x, Mode(True))[0], reference_forward(START, params, x, Mode()), 1e-12, "other")


def test_parameters_without_a_version_counter_rebuild_the_prediction_function_in_every_pass() -> None:
    """Tensors created in inference mode have no version counter."""
    params, x = Sample(START, (2, 8, 7)).inputs()
    with torch.inference_mode():
        params = tree_map(torch.clone, params)
        start = FrozenEntrance(START)
        for _ in range(2):
            params["norm"]["weight"].mul_(1.5)
            y, _ = start.forward(params, x, Mode(True))
            assert_close(y, reference_forward(START, params, x, Mode()), 1e-12, "y")


def test_the_prediction_function_is_reused_while_parameters_are_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    conversions: list[object] = []

    def counting_inference(net: Layer, params: object) -> object:
        conversions.append(params)
        return inference(net, params)

    monkeypatch.setattr("pellucid.fuse.start.inference", counting_inference)
    params, x = Sample(START, (2, 8, 7)).inputs()
    start = FrozenEntrance(START)
    for current_params in (params, params, {**params}, params):  # another dict of the same tensors is no change
        start.forward(current_params, x, Mode(True))
    assert len(conversions) == 1


def test_a_frozen_layer_after_a_trained_one_computes_only_dx() -> None:
    frozen_layers = Sequential(conv=Conv2d(3, 3), norm=BatchNorm(), relu=ReLU(), last=Conv2d(2, 1), pool=AvgPool2d(2))
    net = Sequential(first=Conv2d(2, 1), still=frozen_layers)
    params, x = Sample(net, (2, 8, 7)).inputs()
    frozen = freeze(net, params, {path for path in leaves(params) if path.startswith("still")})
    fused = fuse(frozen)
    types = {type(layer) for layer in fused.layers["still"].layer.layers.values()}
    assert types == {FusedConv2d, FrozenNorm, FusedActivation, KernelForm}
    y, cache = fused.forward(params, x, Mode(True))
    dy = cotangent(y)
    _, dparams = backward(fused, params, cache, dy, consume=True)
    expected = autograd(net, params, x, Mode(), dy)[2]
    expected_first = {path: leaf for path, leaf in expected.items() if path.startswith("first")}
    assert_close(leaves(dparams), expected_first, 1e-10, "dparams")
