"""The measurements for each network: gaps between maps, and deletion curves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

import pellucid
from benchmarks.relevance.networks import (
    MeanViT,
    Subject,
    resnet20,
    shipped_subject,
    trained_vit,
    with_epsilon_in_variances,
    with_functional_gelu,
)
from benchmarks.relevance.tools import CAPTUM, LXT, ZENNIT, by_captum, by_lxt, by_zennit
from conformance.explanations.zennit_side import StackedSum
from pellucid.base.errors import PellucidError
from pellucid.explain import ledger, measure_composites
from pellucid.explain.checks import deletion
from pellucid.explain.measured import CANDIDATES
from pellucid.model import Model
from pellucid.nested import map_tree

N_CHOOSING, N_MEASURED, N_ORDERS, N_CURVE_STEPS = (
    200,
    96,
    5,
    10,
)  # images to choose the composite on, measured images, random orders, and points of a curve
N_CAPTUM = 8  # images for Captum's methods
MIN_ABSORBED = 0.005  # fraction of the scores; causes of smaller amounts are not listed
OUR_COMPOSITES = {
    "EpsilonPlus": "epsilon_plus",
    "EpsilonPlusFlat": "epsilon_plus_flat",
    "EpsilonAlpha2Beta1": "epsilon_alpha2_beta1",
    "EpsilonAlpha2Beta1Flat": "epsilon_alpha2_beta1_flat",
    "EpsilonGammaBox": "epsilon_gamma_box",
}


class Rows(NamedTuple):
    """The rows of one network in the four tables of the page."""

    networks: list[str]
    gaps: list[str]
    captum: list[str]
    curve_rows: list[str]


@dataclass(frozen=True, eq=False)
class OpenedNetwork:
    """A network, its opened form, and the predicted classes of its images."""

    name: str
    subject: Subject
    model: Model
    target: Tensor

    @property
    def measured(self) -> tuple[Tensor, Tensor]:
        """The measured images and their predicted classes."""
        return self.subject.x[:N_MEASURED], self.target[:N_MEASURED]

    @property
    def box(self) -> dict[str, Any]:
        """The options of epsilon_gamma_box."""
        return {"low": self.subject.low, "high": self.subject.high}

    def by_zennit(self, name: str) -> Tensor:
        """Return Zennit's map of the measured images by one of its composites."""
        return by_zennit(self.subject.module, *self.measured, name, (self.subject.low, self.subject.high))

    def by_lxt(self, name: str) -> Tensor:
        """Return LXT's map of the measured images by one of the composites in LXT, which Pellucid has, too."""
        return by_lxt(self.subject.module, *self.measured, name)

    def row(self, rules: str, theirs: Tensor, composite: str, **options: Any) -> str:
        """Return the row of the table of gaps that compares `theirs` with Pellucid's map by `composite`."""
        relevance = ledger(self.model.net, self.model.params, *self.measured, composite=composite, **options)
        gap = float((theirs - relevance.map).abs().max() / relevance.map.abs().max())
        absorbed = [
            f"{cause} {amount:.4g}"
            for cause, amount in relevance.by_cause().items()
            if abs(amount) > MIN_ABSORBED * relevance.score
        ]
        sums = " | ".join(f"{one:.4g}" for one in (relevance.score, float(theirs.sum()), relevance.input))
        return f"| {self.name} | {rules} | {gap:.1e} | {sums} | {', '.join(absorbed)} |"


def open_subject(name: str, subject: Subject) -> OpenedNetwork:
    with torch.no_grad():
        target = subject.module(subject.x).argmax(1)
    return OpenedNetwork(name, subject, pellucid.open(subject.module, subject.x[:2], classes=10), target)


def convnet_rows(network: OpenedNetwork) -> Iterator[str]:
    """Yield a row for each composite of Zennit."""
    for name in ZENNIT:
        yield network.row(
            f"Zennit {name}", network.by_zennit(name), OUR_COMPOSITES[name], **(network.box if "Box" in name else {})
        )


def resnet_rows(network: OpenedNetwork) -> Iterator[str]:
    """Yield the rows of the ResNet-20: with modules for its sums, and as its authors write it."""
    sum_modules = resnet20(StackedSum)
    with_modules = replace(network, name=f"{network.name} with modules for sums, its own epsilon", subject=sum_modules)
    yield with_modules.row("Zennit EpsilonPlus", with_modules.by_zennit("EpsilonPlus"), "epsilon_plus")
    moved_epsilon = replace(sum_modules, module=with_epsilon_in_variances(sum_modules.module))
    yield from convnet_rows(open_subject(f"{network.name} with modules for sums", moved_epsilon))
    yield replace(network, name=f"{network.name} as written").row(
        "Zennit EpsilonPlus", network.by_zennit("EpsilonPlus"), "epsilon_plus"
    )


def vit_rows(network: OpenedNetwork) -> Iterator[str]:
    """Yield the rows of a transformer: Zennit, LXT, and LXT with `F.gelu` instead of a module."""
    yield network.row("Zennit EpsilonPlus, our cp_lrp", network.by_zennit("EpsilonPlus"), "cp_lrp")
    for name in LXT:
        yield network.row(f"LXT, {name}", network.by_lxt(name), name, epsilon=1e-16)
    functional = replace(network.subject, module=with_functional_gelu(network.subject.module))
    functional_network = open_subject(f"{network.name} with `F.gelu`", functional)
    yield functional_network.row("LXT, cp_lrp", functional_network.by_lxt("cp_lrp"), "cp_lrp", epsilon=1e-16)


def captum_rows(network: OpenedNetwork) -> Iterator[str]:
    """Yield a row for each method of Captum: the gap, or the error that one of the libraries raised."""
    x, target = network.subject.x[:N_CAPTUM], network.target[:N_CAPTUM]
    for name, (method, options, _) in CAPTUM.items():
        try:
            theirs = by_captum(network.subject.module, x, target, name)
            ours = network.model.explain(x, method, target=target, **options)
            gap = f"{float((ours - theirs).abs().max() / theirs.abs().max()):.1e}"
        except PellucidError as error:
            gap = f"Pellucid: {error}"
        except Exception as error:  # raised by Captum for modules without a rule
            gap = f"Captum: {' '.join(str(error).split())[:100]}"
        yield f"| {network.name} | {name} | {gap} |"


def curve_rows(network: OpenedNetwork, theirs: dict[str, Tensor]) -> Iterator[str]:
    """Yield the rows of deletion curves, the smallest area first; forward passes are in float32."""
    net, params = (
        network.model.net,
        map_tree(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf, network.model.params),
    )
    x, target = network.measured
    choosing = slice(N_MEASURED, N_MEASURED + N_CHOOSING)
    best_composite = measure_composites(
        net, params, network.subject.x[choosing].float(), network.target[choosing],
        (*CANDIDATES, ("epsilon_gamma_box", network.box)), read=probabilities, orders=1,
    ).best  # fmt: skip

    def areas(map_: Tensor) -> Tensor:
        return deletion(net, params, x.float(), target, map_, steps=N_CURVE_STEPS, read=probabilities).area

    rng = torch.Generator().manual_seed(0)
    random = torch.stack([areas(torch.rand((len(x), 1, *x.shape[2:]), generator=rng)) for _ in range(N_ORDERS)])
    ours = network.model.explain(x, "lrp", target=target, composite=best_composite.name, **best_composite.options)
    our_area = areas(ours)
    rows = {f"Pellucid, {composite_name(best_composite)}, chosen": (our_area, "")}
    rows |= {name: (area := areas(map_), _above(area, our_area)) for name, map_ in theirs.items()}
    n_below_random = {name: f"{int((area < random).all(0).sum())} of {len(x)}" for name, (area, _) in rows.items()}
    rows["random order"] = random.mean(0), _above(random.mean(0), our_area)
    for name, (area, above) in sorted(rows.items(), key=lambda row: float(row[1][0].mean())):
        yield f"| {network.name} | {name} | {float(area.mean()):.4f} | {above} | {n_below_random.get(name, '')} |"


def _above(area: Tensor, our_area: Tensor) -> str:
    """Return the mean difference of areas from Pellucid's, with its standard error over images."""
    gaps = area - our_area
    return f"{float(gaps.mean()):+.4f} ± {float(gaps.std()) / len(gaps) ** 0.5:.4f}"


def composite_name(composite: Any) -> str:
    """Return the name of a composite, without the bounds of pixel values."""
    return composite.name if "low" in composite.options else str(composite)


def probabilities(y: Tensor) -> Tensor:
    return y.softmax(1)


def zennit_maps(network: OpenedNetwork) -> dict[str, Tensor]:
    return {f"Zennit, {name}": network.by_zennit(name) for name in ZENNIT}


def resnet_zennit_maps(network: OpenedNetwork) -> dict[str, Tensor]:
    sum_modules = replace(network, subject=resnet20(StackedSum))
    return {
        **zennit_maps(network),
        **{f"{name}, with modules for sums": map_ for name, map_ in zennit_maps(sum_modules).items()},
    }


def vit_maps(network: OpenedNetwork) -> dict[str, Tensor]:
    """Return the maps by Zennit, by LXT, and by Pellucid with the rules of LXT."""
    x, target = network.measured
    ours = {f"Pellucid, {name}": network.model.explain(x, "lrp", target=target, composite=name) for name in LXT}
    return {
        "Zennit, EpsilonPlus": network.by_zennit("EpsilonPlus"),
        **{f"LXT, {name}": network.by_lxt(name) for name in LXT},
        **ours,
    }


class Network(NamedTuple):
    """Functions that make a network, yield its rows of gaps, and return the other libraries' maps."""

    make: Callable[[], Subject]
    gaps: Callable[[OpenedNetwork], Iterator[str]]
    theirs: Callable[[OpenedNetwork], dict[str, Tensor]]


NETWORKS = {
    "ResNet-20": Network(resnet20, resnet_rows, resnet_zennit_maps),
    "LeNet": Network(lambda: shipped_subject("mnist-lenet", "mnist", 20), convnet_rows, zennit_maps),
    "airbench96": Network(lambda: shipped_subject("cifar", "cifar10", 20), convnet_rows, zennit_maps),
    "ViT": Network(trained_vit, vit_rows, vit_maps),
    "vit-tiny": Network(lambda: shipped_subject("vit-tiny", "cifar10", 20, MeanViT), vit_rows, vit_maps),
}


def measure(name: str) -> Rows:
    """Return the rows of one network, and print each as soon as it is computed."""
    network_spec = NETWORKS[name]
    network = open_subject(name, network_spec.make())
    accuracy = float((network.target == network.subject.labels).double().mean())
    rows = Rows([f"| {name} | {network.subject.source} | {accuracy:.1%} |"], [], [], [])
    row_iterators = (
        network_spec.gaps(network),
        captum_rows(network),
        curve_rows(network, network_spec.theirs(network)),
    )
    for table, found_rows in zip(rows[1:], row_iterators, strict=True):
        for row in found_rows:
            print(row, flush=True)
            table.append(row)
    return rows
