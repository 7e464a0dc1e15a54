"""Maps by Zennit, LXT and Captum, which patch PyTorch modules or attach hooks to them."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.relevance.networks import SelfAttention
from conformance.explanations.zennit_import import zennit

Bounds = tuple[tuple[float, ...], tuple[float, ...]]
ZENNIT = ("EpsilonPlus", "EpsilonPlusFlat", "EpsilonAlpha2Beta1", "EpsilonAlpha2Beta1Flat", "EpsilonGammaBox")
LXT = {"cp_lrp": "cp_wrap_attention_forward", "attn_lrp": "wrap_attention_forward"}  # LXT's wrappers of attention

# Captum's class: Pellucid's method and options, Captum's options
CAPTUM: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "Saliency": ("saliency", {}, {}),
    "InputXGradient": ("input_x_gradient", {}, {}),
    "IntegratedGradients": ("integrated_gradients", {"steps": 20}, {"n_steps": 20}),
    "GuidedBackprop": ("guided_backprop", {}, {}),
    "Deconvolution": ("deconvnet", {}, {}),
    "LRP": ("lrp", {"composite": "epsilon", "epsilon": 1e-9}, {}),
}


def by_captum(module: nn.Module, x: Tensor, target: Tensor, name: str) -> Tensor:
    """Return Captum's map by the method with this name, a key of CAPTUM; errors of Captum are not caught."""
    from captum import attr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings on hooks, and on inputs that need gradients
        attribution = getattr(attr, name)(module).attribute(x.clone(), target=target, **CAPTUM[name][2])
    return attribution.detach()


def by_zennit(module: nn.Module, x: Tensor, target: Tensor, name: str, bounds: Bounds) -> Tensor:
    """Return Zennit's relevance of the target's score by one of its composites (ZENNIT)."""
    canonizers = [zennit().canonizers.SequentialMergeBatchNorm()]
    make_composite = getattr(zennit().composites, name)
    if name == "EpsilonGammaBox":
        low, high = (torch.tensor(one, dtype=x.dtype).view(1, -1, 1, 1).expand(x.shape) for one in bounds)
        composite = make_composite(low, high, canonizers=canonizers)
    else:
        composite = make_composite(canonizers=canonizers)

    def output_relevance(y: Tensor) -> Tensor:
        return y.detach() * torch.zeros_like(y).scatter_(1, target[:, None], 1.0)

    with warnings.catch_warnings(), zennit().attribution.Gradient(module, composite) as attributor:
        warnings.simplefilter("ignore")  # warnings on backward hooks of inputs without gradients
        return attributor(x.clone(), output_relevance)[1].detach()


def by_lxt(module: nn.Module, x: Tensor, target: Tensor, name: str) -> Tensor:
    """Return LXT's relevance of the target's score: x times the gradient of the patched module."""
    with patched(module, name):
        x = x.clone().requires_grad_()
        score = module(x).gather(1, target[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, x)
    return (x * gradient).detach()


@contextmanager
def patched(module: nn.Module, name: str) -> Iterator[None]:
    """Within the context, patch GELU, LayerNorm and attention as LXT does for vision transformers."""
    patches = lxt_patches()
    attentions = [part for part in module.modules() if isinstance(part, SelfAttention)]
    originals: dict[Any, Callable[..., Tensor]] = {kind: kind.forward for kind in (nn.GELU, nn.LayerNorm)}
    original_attends = [part.attend for part in attentions]
    try:
        patches.patch_method(patches.non_linear_forward, nn.GELU, keep_original=True)
        patches.patch_method(patches.layer_norm_forward, nn.LayerNorm)
        for part in attentions:
            part.attend = getattr(patches, LXT[name])(part.attend)
        yield
    finally:
        for kind, forward in originals.items():
            kind.forward = forward
        for part, attend in zip(attentions, original_attends, strict=True):
            part.attend = attend


def lxt_patches() -> Any:
    """Return LXT's module of patches.

    The package lxt.efficient imports torchvision and six models of transformers, which only its tables of patches use;
    it is replaced by an empty package, so the module can be imported without them.
    """
    spec = find_spec("lxt")
    if spec is None:
        raise SystemExit("needs LXT: `pip install --no-deps lxt`")
    if "lxt.efficient" not in sys.modules:
        (folder,) = spec.submodule_search_locations or ()
        package = ModuleType("lxt.efficient")
        package.__path__ = [f"{folder}/efficient"]
        sys.modules["lxt.efficient"] = package
    return import_module("lxt.efficient.patches")
