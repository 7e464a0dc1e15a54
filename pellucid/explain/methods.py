"""Explanation methods by name, and `explain`, which calls them."""

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.base.settings.checks import check_known
from pellucid.explain.averaged import integrated_gradients, smoothgrad
from pellucid.explain.deeplift import deeplift
from pellucid.explain.embedded import at_embeddings, with_fixed_baseline
from pellucid.explain.gradcam import gradcam, gradcam_plus_plus, guided_gradcam, layercam
from pellucid.explain.gradients import deconvnet, guided_backprop, input_x_gradient, saliency
from pellucid.explain.inputs import explain_joined
from pellucid.explain.lrp import lrp
from pellucid.explain.occlusion import occlusion
from pellucid.explain.rollout import rollout
from pellucid.explain.scorecam import scorecam
from pellucid.explain.target import Target
from pellucid.explain.windows import occlude_windows
from pellucid.layers.base import Layer, Params

METHODS: dict[str, Callable[..., Tensor]] = {
    "saliency": saliency,
    "input_x_gradient": input_x_gradient,
    "smoothgrad": smoothgrad,
    "integrated_gradients": integrated_gradients,
    "deeplift": deeplift,
    "guided_backprop": guided_backprop,
    "deconvnet": deconvnet,
    "gradcam": gradcam,
    "gradcam_plus_plus": gradcam_plus_plus,
    "layercam": layercam,
    "scorecam": scorecam,
    "guided_gradcam": guided_gradcam,
    "lrp": lrp,
    "rollout": rollout,
    "occlusion": occlusion,
}

MAGNITUDES = frozenset(
    {"saliency", "gradcam", "gradcam_plus_plus", "layercam", "scorecam", "rollout"}
)  # methods with non-negative maps by default


CHANGING_INPUTS = frozenset(
    {"smoothgrad", "integrated_gradients", "deeplift"}
)  # methods that explain variants of the input


def explain(net: Layer, params: Params, x: Any, method: str = "saliency", target: Target = None, **options: Any) -> Any:
    """Return the explanation of a batch x by a method of METHODS: a tensor of x's shape, or maps (N, 1, H, W).

    x: the network's input, standardised as in training; for several inputs, a tuple, and the result is one, too; then
    noise is a fraction of the range of all inputs. Indices, such as tokens, have the maps (N, ..., D) of the vectors
    that an embedding reads for them; indices with several embeddings have one for each, in a tuple. target: a class,
    one class for each example, None for the predicted class of each example, or a path such as
    "features.conv5[12]"; for all others see `aim`. options: see the method.
    Raises PellucidError for unknown methods and options, and for methods that do not fit the network.
    """
    check_known("no method", method, METHODS)
    parameters = inspect.signature(METHODS[method]).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        option_names = [name for name in parameters if name not in ("net", "params", "x", "target")]
        for name in options:
            check_known(f"{method} has no option", name, option_names)
    if isinstance(options.get("of"), str):
        check_known(f"{method}: no method", options["of"], METHODS)
        options["of"] = METHODS[options["of"]]
    with torch.no_grad():
        embedded = at_embeddings(net, params, x)
        if embedded is not None:
            if method == "occlusion":
                xs = embedded.inputs + embedded.fixed_indices
                maps = occlude_windows(embedded.net, params, xs, embedded.channel_axes, target, **options)
                return embedded.explained_maps(maps)
            if method in CHANGING_INPUTS:
                options = with_fixed_baseline(method, embedded, options)
            return embedded.explained_maps(explain(embedded.net, params, embedded.x, method, target, **options))
        if isinstance(x, tuple) and method in CHANGING_INPUTS:
            return explain_joined(METHODS[method], net, params, cast("tuple[Tensor, ...]", x), target, options)
        return METHODS[method](net, params, x, target, **options)
