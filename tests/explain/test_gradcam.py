"""Class activation mapping against derivatives computed by PyTorch, and scores of masked images."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid import layers
from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.explain import gradcam, gradcam_plus_plus, guided_gradcam, layercam, scorecam, upto
from pellucid.explain.gradcam import POOLING_LAYERS
from pellucid.layers import Dense, Flatten, Layer, Mode, ReLU, ReLU6, RoIPool
from tests.explain.networks import CLASSES, SHAPE, network_and_batch
from tests.oracle import assert_close, normal, randomized
from tests.references import reference_forward
from tests.rules.dense import relevance_of

# The name of the network, the argument `layer` (None: the default, the last feature maps), and the path of that layer.
LAYERS = [("vgg", "relu2", "relu2"), ("resnet", None, "block2.relu"), ("inception", "mixed", "mixed")]


def layers_after(net: Any, path: str) -> tuple[list[str], Any]:
    """Return the names of the children of `net` after the one that ends with `path`, and a Sequential of them."""
    names = list(net.children)
    names_after = names[names.index(path.split(".", maxsplit=1)[0]) + 1 :]
    return names_after, Sequential(**{name: net.children[name] for name in names_after})


def maps_and_scores(name: str, path: str, classes: Tensor) -> tuple[Any, Any, Tensor, Tensor, Tensor]:
    """Return a network, its parameters, a batch x, the feature maps of the layer at `path`, and the scores (N,).

    The scores are those of `classes`, computed from the maps, with respect to which they can be differentiated.
    """
    net, params, x = network_and_batch(name)
    a = reference_forward(upto(net, path), params, x, Mode()).requires_grad_()
    y = reference_forward(layers_after(net, path)[1], params, a, Mode())
    return net, params, x, a, y.gather(1, classes[:, None]).squeeze(1)


@pytest.mark.parametrize(("name", "layer", "path"), LAYERS)
def test_maps_are_weighed_by_their_mean_gradients(name: str, layer: str | None, path: str) -> None:
    classes = torch.tensor([1, 2])
    net, params, x, a, score = maps_and_scores(name, path, classes)
    (da,) = torch.autograd.grad(score.sum(), a)
    expected = torch.einsum("nc,nchw->nhw", da.mean((2, 3)), a.detach())[:, None]
    assert_close(gradcam(net, params, x, classes, layer, signed=True, upsample=False), expected, 1e-11)
    local = (da * a.detach()).sum(1, keepdim=True)
    assert_close(gradcam(net, params, x, classes, layer, signed=True, upsample=False, local=True), local, 1e-11)
    rectified = F.interpolate(torch.relu(expected), SHAPE[1:], mode="bilinear")
    assert_close(gradcam(net, params, x, classes, layer), rectified, 1e-11)
    score_gradient = F.one_hot(classes, CLASSES).double()
    guided_map = relevance_of(net, params, x, score_gradient, guided_backprop_leaf) * rectified
    assert_close(guided_gradcam(net, params, x, classes, layer), guided_map, 1e-11)


def guided_backprop_leaf(path: str, layer: Layer, params: Any, x: Any, y: Any, dy: Tensor) -> Any:
    """Return dx: a rectifier passes positive dy where its slope is 1 (Springenberg et al.); others use autograd."""
    if isinstance(layer, ReLU | ReLU6):
        return dy * (dy > 0) * (x > 0) * (x < (6 if isinstance(layer, ReLU6) else torch.inf))
    is_tuple = isinstance(x, tuple)
    inputs = tuple(tensor.detach().requires_grad_() for tensor in (x if is_tuple else (x,)))
    with torch.enable_grad():
        y = reference_forward(layer, params, inputs if is_tuple else inputs[0], Mode())
    gradients = torch.autograd.grad(y, inputs, dy)
    return gradients if is_tuple else gradients[0]


@pytest.mark.parametrize(("name", "layer", "path"), LAYERS)
def test_grad_cam_plus_plus_weighs_by_the_higher_derivatives_of_the_exponential(
    name: str, layer: str | None, path: str
) -> None:
    """Chattopadhyay et al. 2018, equation 10, with each derivative of exp(score) computed by autograd."""
    classes = torch.tensor([1, 2])
    net, params, x, a, score = maps_and_scores(name, path, classes)
    actual = gradcam_plus_plus(net, params, x, classes, layer, upsample=False)
    for n in range(2):
        exp_score = torch.exp(score[n])
        (first,) = torch.autograd.grad(exp_score, a, create_graph=True)
        total = a.detach()[n].sum((1, 2))  # (C,)
        weights = torch.zeros(a.shape[1]).double()
        for k, i, j in torch.cartesian_prod(*map(torch.arange, a.shape[1:])).tolist():
            (second,) = torch.autograd.grad(first[n, k, i, j], a, create_graph=True)
            (third,) = torch.autograd.grad(second[n, k, i, j], a, retain_graph=True)
            d2, d3 = float(second[n, k, i, j].detach()), float(third[n, k, i, j])
            denominator = 2 * d2 + float(total[k]) * d3
            alpha = d2 / denominator if denominator else 0.0
            weights[k] += alpha * max(float(first[n, k, i, j].detach()), 0.0)
        expected = torch.relu(torch.einsum("c,chw->hw", weights, a.detach()[n])) / exp_score.detach()
        assert_close(actual[n, 0], expected, 1e-9)


@pytest.mark.parametrize(("name", "layer", "path"), LAYERS)
def test_layer_cam_weighs_each_value_by_its_own_positive_gradient(name: str, layer: str | None, path: str) -> None:
    classes = torch.tensor([1, 2])
    net, params, x, a, score = maps_and_scores(name, path, classes)
    (da,) = torch.autograd.grad(score.sum(), a)
    expected = torch.relu(torch.einsum("nchw,nchw->nhw", torch.relu(da), a.detach()))[:, None]
    assert_close(layercam(net, params, x, classes, layer, upsample=False), expected, 1e-11)


@pytest.mark.parametrize(("name", "layer", "path"), LAYERS)
@pytest.mark.parametrize("batch", [1, 4, 100])
def test_score_cam_weighs_by_the_scores_of_masked_images(name: str, layer: str | None, path: str, batch: int) -> None:
    """Wang et al. 2020, equations 5 to 8, one masked image at a time."""
    classes = [1, 2]
    net, params, x, a, _ = maps_and_scores(name, path, torch.tensor(classes))
    for n, class_ in enumerate(classes):
        maps = a[n].detach()
        masked_scores: list[Tensor] = []
        for map_ in F.interpolate(maps[:, None], SHAPE[1:], mode="bilinear")[:, 0]:
            extent = float(map_.max() - map_.min())
            mask = (map_ - map_.min()) / extent if extent else torch.zeros_like(map_)
            masked_scores.append(reference_forward(net, params, (x[n] * mask)[None], Mode())[0, class_])
        weights = torch.stack(masked_scores).exp() / torch.stack(masked_scores).exp().sum()
        expected = torch.relu((weights[:, None, None] * maps).sum(0))
        actual = scorecam(net, params, x, torch.tensor(classes), layer, upsample=False, batch=batch)
        assert_close(actual[n, 0], expected, 1e-11)
        kept = maps.flatten(1).var(1).argsort(descending=True)[:2]
        weights = torch.stack(masked_scores)[kept].softmax(0)
        expected = torch.relu((weights[:, None, None] * maps[kept]).sum(0))
        actual = scorecam(net, params, x, torch.tensor(classes), layer, upsample=False, batch=batch, maps=2)
        assert_close(actual[n, 0], expected, 1e-11)


def test_the_default_layer_has_the_last_feature_maps() -> None:
    for name, path in (("vgg", "relu2"), ("resnet", "block2.relu"), ("inception", "relu"), ("u-net", "conv")):
        net, params, x = network_and_batch(name)
        assert torch.equal(gradcam(net, params, x, 0), gradcam(net, params, x, 0, path))


def test_an_inner_target_is_explained_by_maps_before_it() -> None:
    net, params, x = network_and_batch("vgg")
    assert gradcam(net, params, x, "conv2[1]", "relu1").shape == (2, 1, 6, 6)


@pytest.mark.parametrize(
    ("name", "layer", "message"),
    [
        ("vgg", "relu3", "no layer 'relu3'; did you mean 'relu"),
        ("vgg", "scores", "'scores' outputs no feature maps"),
        ("recurrent", "step", "'step' runs more than once"),
        ("siamese", "shared.layer.conv", "runs more than once"),
    ],
)
def test_layers_without_feature_maps_or_with_repeated_runs_are_refused(name: str, layer: str, message: str) -> None:
    net, params, x = network_and_batch(name)
    with pytest.raises(PellucidError, match=message):
        gradcam(net, params, x, 0, layer)


def test_maps_after_the_target_are_refused() -> None:
    net, params, x = network_and_batch("vgg")
    with pytest.raises(PellucidError, match="does not depend on the layer 'relu2'"):
        gradcam(net, params, x, "conv1[0]", "relu2")


def test_a_network_without_maps_is_reported() -> None:
    rng = torch.Generator().manual_seed(0)
    net = Sequential(flat=Flatten(), scores=Dense(2))
    params, x = randomized(net.init(SHAPE, rng)[0], rng), normal((1, *SHAPE), rng)
    with pytest.raises(PellucidError, match="no feature maps"):
        gradcam(net, params, x, 0)


def test_every_pooling_is_among_those_before_which_maps_are_looked_for() -> None:
    poolings = {kind for kind in layers.LAYERS if "Pool" in kind.__name__} - {RoIPool}  # of boxes, not of maps
    assert poolings == {*POOLING_LAYERS}, "change POOLING_LAYERS of pellucid/explain/gradcam.py"
