"""The same explanation by each library, in the form of its documentation."""

import sys
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

import pellucid
from benchmarks.beside.networks import Case
from conformance.explanations.zennit_import import zennit

STEPS = 200  # of integrated gradients
Maps = tuple[Tensor, ...]  # one for each input
Method = Callable[[Case, nn.Module, Maps], Maps]


class Scored(nn.Module):
    """A network whose output is the explained score, (N, 1), for libraries that explain the score of a class."""

    def __init__(self, case: Case, module: nn.Module) -> None:
        super().__init__()
        self.score = case.score
        self.module = module

    def forward(self, *xs: Tensor) -> Tensor:
        return self.score(self.module(*xs))[:, None]


def by_pellucid(method: str, **options: Any) -> Method:
    """Return a method of Pellucid."""

    def run(case: Case, module: nn.Module, xs: Maps) -> Maps:
        x = xs if len(xs) > 1 else xs[0]
        model = pellucid.open(module, x, loss=None)
        given = dict(options)
        if method == "gradcam":
            given["layer"] = case.cam_layer
        if method == "lrp" and any(isinstance(part, nn.LayerNorm | nn.LSTM) for part in module.modules()):
            given["composite"] = "cp_lrp"
        maps = model.explain(x, method, case.target, **given)
        known = [
            map_.as_subclass(Tensor) for map_ in (maps if isinstance(maps, tuple) else (maps,)) if map_ is not None
        ]
        # Grad-CAM's map of images with the channels last is (N, h, w, 1)
        return tuple(map_.movedim(-1, 1) if method == "gradcam" and map_.shape[1] > 1 else map_ for map_ in known)

    return run


def by_captum(name: str, **options: Any) -> Method:
    """Return a class of captum.attr, applied to the score."""

    def run(case: Case, module: nn.Module, xs: Maps) -> Maps:
        from captum import attr

        scored = Scored(case, module)
        if name == "LayerGradCam":
            method = attr.LayerGradCam(scored, module.get_submodule(case.cam_layer))
        else:
            method = getattr(attr, name)(scored)
        if name == "LRP":
            set_captum_rules(module)
        maps = method.attribute(tuple(x.clone() for x in xs), target=0, **options)
        return tuple(map_.detach() for map_ in (maps if isinstance(maps, tuple) else (maps,)))

    return run


def set_captum_rules(module: nn.Module) -> None:
    """Give modules for which Captum has no default rule one, as its messages ask; none fits the others."""
    from captum.attr._utils import lrp_rules

    for part in module.modules():
        if isinstance(part, nn.Flatten | nn.Conv1d | nn.Conv3d | nn.ConvTranspose2d | nn.BatchNorm2d):
            part.rule = lrp_rules.EpsilonRule()  # pyright: ignore[reportArgumentType]
        elif isinstance(part, nn.ReLU6 | nn.GELU):
            part.rule = lrp_rules.IdentityRule()  # pyright: ignore[reportArgumentType]


def by_zennit(composite: str) -> Method:
    """Return the gradient under a composite of Zennit, "" for none."""

    def run(case: Case, module: nn.Module, xs: Maps) -> Maps:
        if len(xs) > 1:
            raise TypeError("an attributor of Zennit takes one input")
        make = getattr(zennit().composites, composite) if composite else None
        rules = make(canonizers=[zennit().canonizers.SequentialMergeBatchNorm()]) if make else None

        def output_relevance(y: Tensor) -> Tensor:
            leaf = y.detach().requires_grad_()
            (weights,) = torch.autograd.grad(case.score(leaf).sum(), leaf)
            return y.detach() * weights if composite else weights

        with zennit().attribution.Gradient(module, rules) as attributor:
            return (attributor(xs[0].clone(), output_relevance)[1].detach(),)

    return run


def by_grad_cam(case: Case, module: nn.Module, xs: Maps) -> Maps:
    """Return the map of pytorch-grad-cam, which scales it to the range from 0 to 1 and to the image."""
    without_torchvision()
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    scored = Scored(case, module)
    with GradCAM(scored, [module.get_submodule(case.cam_layer)]) as cam:
        map_ = cam(xs[0] if len(xs) == 1 else xs, [ClassifierOutputTarget(0)] * 2)
    return (torch.from_numpy(map_)[:, None].double(),)


def without_torchvision() -> None:
    """Replace what pytorch-grad-cam imports of torchvision, and uses for files of pictures and for detectors only."""
    if "torchvision" in sys.modules or find_spec("torchvision") is not None:
        return
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.__path__ = []
        sys.modules[name] = module
    transforms = sys.modules["torchvision.transforms"]
    for name in ("Compose", "Normalize", "ToTensor"):
        setattr(transforms, name, type(name, (), {}))
    sys.modules["torchvision.transforms.functional"].resize = None  # pyright: ignore[reportAttributeAccessIssue]


LIBRARIES: dict[str, dict[str, Method]] = {
    "Pellucid": {
        "gradient": by_pellucid("saliency", signed=True),
        "integrated gradients": by_pellucid("integrated_gradients", steps=STEPS),
        "DeepLIFT": by_pellucid("deeplift"),
        "Grad-CAM": by_pellucid("gradcam", signed=True, upsample=False),
        "LRP": by_pellucid("lrp"),
    },
    "Captum": {
        "gradient": by_captum("Saliency", abs=False),
        "integrated gradients": by_captum("IntegratedGradients", n_steps=STEPS),
        "DeepLIFT": by_captum("DeepLift"),
        "Grad-CAM": by_captum("LayerGradCam"),
        "LRP": by_captum("LRP"),
    },
    "Zennit": {"gradient": by_zennit(""), "LRP": by_zennit("EpsilonPlus")},
    "pytorch-grad-cam": {"Grad-CAM": by_grad_cam},
}


def quiet(method: Method, case: Case, module: nn.Module, xs: Maps) -> Maps:
    """Run a method without the warnings of libraries about their hooks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method(case, module, xs)
