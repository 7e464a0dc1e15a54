"""`explain` with each method by name, on networks of every structure."""

from typing import Any

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.explain import METHODS, explain
from tests.explain.networks import NETWORKS, network_and_batch
from tests.oracle import cast

MAP_METHODS = ("gradcam", "gradcam_plus_plus", "layercam", "scorecam", "occlusion")
ATTENTION_METHODS = ("rollout",)  # methods that need attention


@pytest.mark.parametrize("method", [method for method in METHODS if method not in ATTENTION_METHODS])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_method_explains_every_network(method: str, name: str, dtype: torch.dtype) -> None:
    if (method, name) == ("deeplift", "gated"):
        pytest.skip("DeepLIFT has no rule for products; tests/explain/test_deeplift.py")
    net, params, x = network_and_batch(name)
    explanation = explain(net, cast(params, dtype), x.to(dtype), method)
    assert explanation.shape == ((2, 1, 6, 6) if method in MAP_METHODS else x.shape)
    assert explanation.dtype is dtype
    assert explanation.isfinite().all()
    assert explanation.abs().sum() > 0


def test_rollout_needs_attention() -> None:
    net, params, x = network_and_batch("vgg")
    with pytest.raises(PellucidError, match="rollout needs attention, of which this network has none"):
        explain(net, params, x, "rollout")


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("salience", {}, "no method 'salience'; did you mean 'saliency'"),
        ("saliency", {"steps": 3}, "saliency has no option 'steps'; known: signed"),
        ("guided_backprop", {"layers": "conv1"}, "guided_backprop has no option 'layers'; known: none"),
        ("smoothgrad", {"of": "gradcm"}, "smoothgrad: no method 'gradcm'; did you mean 'gradcam'"),
        ("gradcam", {"layr": "conv1"}, "gradcam has no option 'layr'; did you mean 'layer'"),
    ],
)
def test_unknown_names_are_refused(method: str, options: dict[str, Any], message: str) -> None:
    net, params, x = network_and_batch("vgg")
    with pytest.raises(PellucidError, match=message):
        explain(net, params, x, method, 0, **options)


def test_integer_inputs_are_refused() -> None:
    net, params, x = network_and_batch("vgg")
    with pytest.raises(PellucidError, match="networks do not support int64"):
        explain(net, params, x.long(), "saliency", 0)
