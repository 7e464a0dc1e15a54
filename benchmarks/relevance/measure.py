"""What is measured of each network: gaps between maps, and deletion curves."""

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
    shipped,
    trained_vit,
    with_epsilon_in_variances,
    with_functional_gelu,
)
from benchmarks.relevance.tools import CAPTUM, LXT, ZENNIT, by_captum, by_lxt, by_zennit
from conformance.explanations.zennit_side import Stacked
from pellucid.errors import PellucidError
from pellucid.explain import ledger, measure_composites
from pellucid.explain.checks import deletion
from pellucid.explain.measured import CANDIDATES
from pellucid.model import Model
from pellucid.nested import map_tree

CHOOSING, MEASURED, ORDERS, STEPS = 200, 96, 5, 10  # images of each kind, random orders, and points of a curve
FEW = 8  # images for Captum's methods
LEAST = 0.005  # of the scores: smaller causes are left out
OURS = {
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
    curves: list[str]


@dataclass(frozen=True, eq=False)
class Opened:
    """A network, its opened form, and the predicted classes of its images."""

    name: str
    subject: Subject
    model: Model
    target: Tensor

    @property
    def measured(self) -> tuple[Tensor, Tensor]:
        """The images that are measured, and their classes."""
        return self.subject.x[:MEASURED], self.target[:MEASURED]

    @property
    def box(self) -> dict[str, Any]:
        """The options of epsilon_gamma_box."""
        return {"low": self.subject.low, "high": self.subject.high}

    def by_zennit(self, name: str) -> Tensor:
        """Return Zennit's map of the measured images by one of its composites."""
        return by_zennit(self.subject.module, *self.measured, name, (self.subject.low, self.subject.high))

    def by_lxt(self, name: str) -> Tensor:
        """Return LXT's map of the measured images by rules that we have too."""
        return by_lxt(self.subject.module, *self.measured, name)

    def row(self, rules: str, theirs: Tensor, composite: str, **options: Any) -> str:
        """Return a row of the table of gaps."""
        found = ledger(self.model.net, self.model.params, *self.measured, composite=composite, **options)
        gap = float((theirs - found.map).abs().max() / found.map.abs().max())
        absorbed = [
            f"{cause} {part:.4g}" for cause, part in found.by_cause().items() if abs(part) > LEAST * found.score
        ]
        sums = " | ".join(f"{one:.4g}" for one in (found.score, float(theirs.sum()), found.input))
        return f"| {self.name} | {rules} | {gap:.1e} | {sums} | {', '.join(absorbed)} |"


def opened(name: str, subject: Subject) -> Opened:
    with torch.no_grad():
        target = subject.module(subject.x).argmax(1)
    return Opened(name, subject, pellucid.open(subject.module, subject.x[:2], classes=10), target)


def of_convnet(one: Opened) -> Iterator[str]:
    """Yield a row for each composite of Zennit."""
    for name in ZENNIT:
        yield one.row(f"Zennit {name}", one.by_zennit(name), OURS[name], **(one.box if "Box" in name else {}))


def of_resnet(one: Opened) -> Iterator[str]:
    """Yield the rows of the ResNet-20: with modules for its sums, and as it is written."""
    joined = resnet20(Stacked)
    with_modules = replace(one, name=f"{one.name} with modules for sums, its own epsilon", subject=joined)
    yield with_modules.row("Zennit EpsilonPlus", with_modules.by_zennit("EpsilonPlus"), "epsilon_plus")
    moved = replace(joined, module=with_epsilon_in_variances(joined.module))
    yield from of_convnet(opened(f"{one.name} with modules for sums", moved))
    yield replace(one, name=f"{one.name} as written").row(
        "Zennit EpsilonPlus", one.by_zennit("EpsilonPlus"), "epsilon_plus"
    )


def of_vit(one: Opened) -> Iterator[str]:
    """Yield the rows of the transformer: Zennit, LXT, and LXT for functions in place of modules."""
    yield one.row("Zennit EpsilonPlus, our cp_lrp", one.by_zennit("EpsilonPlus"), "cp_lrp")
    for name in LXT:
        yield one.row(f"LXT, {name}", one.by_lxt(name), name, epsilon=1e-16)
    functional = replace(one.subject, module=with_functional_gelu(one.subject.module))
    again = opened(f"{one.name} with `F.gelu`", functional)
    yield again.row("LXT, cp_lrp", again.by_lxt("cp_lrp"), "cp_lrp", epsilon=1e-16)


def of_captum(one: Opened) -> Iterator[str]:
    """Yield a row for each method of Captum's: the gap, or why one of both has no map."""
    x, target = one.subject.x[:FEW], one.target[:FEW]
    for name, (method, options, _) in CAPTUM.items():
        try:
            theirs = by_captum(one.subject.module, x, target, name)
            ours = one.model.explain(x, method, target=target, **options)
            found = f"{float((ours - theirs).abs().max() / theirs.abs().max()):.1e}"
        except PellucidError as error:
            found = f"Pellucid: {error}"
        except Exception as error:  # of Captum, for modules that it does not know
            found = f"Captum: {' '.join(str(error).split())[:100]}"
        yield f"| {one.name} | {name} | {found} |"


def curves(one: Opened, theirs: dict[str, Tensor]) -> Iterator[str]:
    """Yield the rows of deletion curves, the best first; the passes are in float32."""
    net, params = (
        one.model.net,
        map_tree(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf, one.model.params),
    )
    x, target = one.measured
    others = slice(MEASURED, MEASURED + CHOOSING)
    chosen = measure_composites(
        net, params, one.subject.x[others].float(), one.target[others],
        (*CANDIDATES, ("epsilon_gamma_box", one.box)), read=probabilities, orders=1,
    ).best  # fmt: skip

    def areas(map_: Tensor) -> Tensor:
        return deletion(net, params, x.float(), target, map_, steps=STEPS, read=probabilities).area

    rng = torch.Generator().manual_seed(0)
    random = torch.stack([areas(torch.rand((len(x), 1, *x.shape[2:]), generator=rng)) for _ in range(ORDERS)])
    ours = one.model.explain(x, "lrp", target=target, composite=chosen.name, **chosen.options)
    own = areas(ours)
    rows = {f"Pellucid, {named(chosen)}, chosen": (own, "")}
    rows |= {name: (area := areas(map_), _above(area, own)) for name, map_ in theirs.items()}
    better = {name: f"{int((area < random).all(0).sum())} of {len(x)}" for name, (area, _) in rows.items()}
    rows["random order"] = random.mean(0), _above(random.mean(0), own)
    for name, (area, above) in sorted(rows.items(), key=lambda row: float(row[1][0].mean())):
        yield f"| {one.name} | {name} | {float(area.mean()):.4f} | {above} | {better.get(name, '')} |"


def _above(area: Tensor, own: Tensor) -> str:
    """Return by how much areas are above Pellucid's, with the standard error of the mean over images."""
    gaps = area - own
    return f"{float(gaps.mean()):+.4f} ± {float(gaps.std()) / len(gaps) ** 0.5:.4f}"


def named(chosen: Any) -> str:
    """Return the name of a composite, without the bounds of pixels."""
    return chosen.name if "low" in chosen.options else str(chosen)


def probabilities(y: Tensor) -> Tensor:
    return y.softmax(1)


def zennits(one: Opened) -> dict[str, Tensor]:
    return {f"Zennit, {name}": one.by_zennit(name) for name in ZENNIT}


def zennits_of_resnet(one: Opened) -> dict[str, Tensor]:
    joined = replace(one, subject=resnet20(Stacked))
    return {**zennits(one), **{f"{name}, with modules for sums": map_ for name, map_ in zennits(joined).items()}}


def zennit_and_lxt(one: Opened) -> dict[str, Tensor]:
    """Return the maps of both, and ours by the rules of LXT."""
    x, target = one.measured
    same = {f"Pellucid, {name}": one.model.explain(x, "lrp", target=target, composite=name) for name in LXT}
    return {
        "Zennit, EpsilonPlus": one.by_zennit("EpsilonPlus"),
        **{f"LXT, {name}": one.by_lxt(name) for name in LXT},
        **same,
    }


class Network(NamedTuple):
    """How a network is made, and what is measured of it."""

    make: Callable[[], Subject]
    gaps: Callable[[Opened], Iterator[str]]
    theirs: Callable[[Opened], dict[str, Tensor]]


NETWORKS = {
    "ResNet-20": Network(resnet20, of_resnet, zennits_of_resnet),
    "LeNet": Network(lambda: shipped("mnist-lenet", "mnist", 20), of_convnet, zennits),
    "airbench96": Network(lambda: shipped("cifar", "cifar10", 20), of_convnet, zennits),
    "ViT": Network(trained_vit, of_vit, zennit_and_lxt),
    "vit-tiny": Network(lambda: shipped("vit-tiny", "cifar10", 20, MeanViT), of_vit, zennit_and_lxt),
}


def measure(name: str) -> Rows:
    """Return the rows of one network, which are printed as they come."""
    network = NETWORKS[name]
    one = opened(name, network.make())
    right = float((one.target == one.subject.labels).double().mean())
    rows = Rows([f"| {name} | {one.subject.source} | {right:.1%} |"], [], [], [])
    parts = (network.gaps(one), of_captum(one), curves(one, network.theirs(one)))
    for table, found in zip(rows[1:], parts, strict=True):
        for row in found:
            print(row, flush=True)
            table.append(row)
    return rows
