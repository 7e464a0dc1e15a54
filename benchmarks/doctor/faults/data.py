"""Faults of the data: labels, inputs, copies, and how the parts were prepared and divided."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.doctor.fault import Fault
from benchmarks.doctor.faults.ways import Make, damaged, learned, taught
from benchmarks.doctor.settings import SETTINGS, Setting
from pellucid.data import Dataset, FeatureStats
from pellucid.data.dataset import float_images
from pellucid.doctor import Case, case_of
from pellucid.model import Model

Alter = Callable[[Dataset, torch.Generator], Dataset]

NAMES = tuple(setting.name for setting in SETTINGS)
SIGNS = tuple(name for name in NAMES if name.startswith("signs")), "only signs have colours"
MIXED = (
    tuple(name for name in NAMES if not name.startswith("signs")),
    "signs lie in the order of their classes, so that a neighbour's label is nearly always right",
)


def _with(alter: Alter, *parts: str, **changes: object) -> Make:
    """Return what trains on data of which some parts are altered."""

    def make(setting: Setting) -> Case:
        def change(data: Dataset, part: str) -> Dataset:
            rng = torch.Generator().manual_seed(setting.seed)
            return alter(data, rng) if part in parts else data

        return taught(change=change, **changes)(setting)

    return make


def _plain(alter: Alter, *parts: str) -> Make:
    """The same where the network reads the inputs as they are."""
    return _with(alter, *parts, model={"preprocess": {}})


def _x(change: Callable[[Tensor], Tensor]) -> Alter:
    """Return what alters the inputs, as floats."""
    return lambda data, rng: replace(data, x=change(float_images(data.x)).contiguous())


def _y(change: Callable[[Tensor, torch.Generator], Tensor]) -> Alter:
    return lambda data, rng: replace(data, y=change(data.y, rng))


def _some(n: int, share: float, rng: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=rng)[: round(n * share)]


# Labels


def _shuffled(share: float) -> Alter:
    def change(y: Tensor, rng: torch.Generator) -> Tensor:
        y, places = y.clone(), _some(len(y), share, rng)
        y[places] = y[places[torch.randperm(len(places), generator=rng)]]
        return y

    return _y(change)


def _swapped(y: Tensor, rng: torch.Generator) -> Tensor:
    a, b = torch.randperm(10, generator=rng)[:2].tolist()
    order = torch.arange(10)
    order[a], order[b] = b, a
    return order[y]


def _permuted(y: Tensor, rng: torch.Generator) -> Tensor:
    order = torch.randperm(10, generator=rng)
    return (order if not torch.equal(order, torch.arange(10)) else order.roll(1))[y]


def _off(by: int) -> Alter:
    return _y(lambda y, rng: (y + by) % 10)


def _cut(y: Tensor, rng: torch.Generator) -> Tensor:
    return (y - 1).clamp_min(0)


LABELS = (
    Fault("shuffled-labels", "all training labels shuffled", _with(_shuffled(1.0), "train")),
    Fault("shuffled-labels", "all labels shuffled", _with(_shuffled(1.0), "train", "validation")),
    Fault("shuffled-labels", "validation labels shuffled", _with(_shuffled(1.0), "validation")),
    Fault("shuffled-labels", "half of the training labels shuffled", _with(_shuffled(0.5), "train")),
    Fault("shuffled-labels", "labels one row late", _with(_y(lambda y, rng: y.roll(1)), "train", "validation"), *MIXED),
    Fault("shuffled-labels", "training labels 16 rows late", _with(_y(lambda y, rng: y.roll(16)), "train"), *MIXED),
    Fault("shifted-labels", "validation labels count from one", _with(_off(1), "validation")),
    Fault("shifted-labels", "training labels off by one", _with(_off(-1), "train")),
    Fault("shifted-labels", "validation labels one less, at least 0", _with(_y(_cut), "validation")),
    Fault("shifted-labels", "two classes swapped in validation", _with(_y(_swapped), "validation")),
    Fault("shifted-labels", "two classes swapped in training", _with(_y(_swapped), "train")),
    Fault("shifted-labels", "validation classes in another order", _with(_y(_permuted), "validation")),
)


# Inputs


def _blank(data: Dataset, rng: torch.Generator) -> Dataset:
    x = data.x.clone()
    x[_some(len(x), 0.3, rng)] = 0
    return replace(data, x=x)


def _masked(x: Tensor) -> Tensor:
    x = x.clone()
    x[..., x.shape[-1] // 2 :] = 0
    return x


def _lost_channel(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 2] = 0
    return x


def _thrice(data: Dataset, rng: torch.Generator) -> Dataset:
    places = _some(len(data), 1 / 3, rng).repeat(3)
    return data.subset(places[torch.randperm(len(places), generator=rng)])


def _copied(share: float, other_labels: bool = False) -> Alter:
    def alter(data: Dataset, rng: torch.Generator) -> Dataset:
        places = _some(len(data), share, rng)
        y = data.y[places]
        if other_labels:
            y = (y + torch.randint(1, 10, y.shape, generator=rng)) % 10
        return replace(data, x=torch.cat([data.x, data.x[places]]), y=torch.cat([data.y, y]))

    return alter


def _one_channel_in_bytes(x: Tensor) -> Tensor:
    return x * torch.tensor([255.0, 1.0, 1.0])[:, None, None]


BOTH = ("train", "validation")
INPUTS = (
    Fault("constant-inputs", "all inputs black", _with(_x(torch.zeros_like), *BOTH)),
    Fault("constant-inputs", "three in ten training inputs black", _with(_blank, "train")),
    Fault("constant-inputs", "the right half black", _with(_x(_masked), *BOTH)),
    Fault("constant-inputs", "a channel lost", _with(_x(_lost_channel), *BOTH), *SIGNS),
    Fault("duplicated-inputs", "a third of the examples, each three times", _with(_thrice, "train")),
    Fault("duplicated-inputs", "a fifth of the examples twice", _with(_copied(0.2), "train")),
    Fault("duplicated-inputs", "copies with other labels", _with(_copied(0.08, True), "train")),
    Fault("unnormalised-inputs", "0 to 255", _plain(_x(lambda x: x * 255), *BOTH)),
    Fault("unnormalised-inputs", "0 to 16, as scikit-learn has digits", _plain(_x(lambda x: x * 16), *BOTH)),
    Fault("unnormalised-inputs", "divided by 255 twice", _plain(_x(lambda x: x / 255), *BOTH)),
    Fault("unnormalised-inputs", "100 to 101", _plain(_x(lambda x: x + 100), *BOTH)),
    Fault("unnormalised-inputs", "one channel in bytes", _plain(_x(_one_channel_in_bytes), *BOTH), *SIGNS),
)


# Preparation


def _by_hand(held: Callable[[Tensor, FeatureStats], Tensor]) -> Make:
    """Return what standardises training inputs by hand, and validation inputs otherwise."""

    def make(setting: Setting) -> Case:
        kept: list[FeatureStats] = []

        def change(data: Dataset, part: str) -> Dataset:
            if part == "train":
                kept[:] = [FeatureStats.fit(data.x)]
                return replace(data, x=kept[0].apply(data.x))
            return replace(data, x=held(float_images(data.x), kept[0]).contiguous())

        return setting.but(change=change, model={"preprocess": {}}).train()

    return make


def _served(change: Callable[[Case, Tensor], Tensor]) -> Make:
    """Return what trains as it should and then is given other inputs."""

    def make(setting: Setting) -> Case:
        case = setting.train()
        held = case.validation
        train = replace(case.train, x=change(case, float_images(case.train.x)).contiguous())
        if held is not None:
            held = replace(held, x=change(case, float_images(held.x)).contiguous())
        return replace(case, train=train, validation=held, history=None)

    return make


def _standardised(case: Case, x: Tensor) -> Tensor:
    return x if case.model.stats is None else case.model.stats.apply(x)


MISMATCHES = (
    Fault("preprocessing-mismatch", "validation 0 to 255", _with(_x(lambda x: x * 255), "validation")),
    Fault("preprocessing-mismatch", "validation divided twice", _with(_x(lambda x: x / 255), "validation")),
    Fault("preprocessing-mismatch", "validation not standardised", _by_hand(lambda x, stats: x)),
    Fault("preprocessing-mismatch", "validation by ImageNet's mean", _by_hand(lambda x, stats: (x - 0.449) / 0.226)),
    Fault("preprocessing-mismatch", "validation inverted", _with(_x(lambda x: 1 - x), "validation")),
    Fault("preprocessing-mismatch", "validation BGR", _with(_x(lambda x: x.flip(1)), "validation"), *SIGNS),
    Fault("preprocessing-mismatch", "validation transposed", _with(_x(lambda x: x.transpose(2, 3)), "validation")),
    Fault("preprocessing-mismatch", "validation on its side", _with(_x(lambda x: x.rot90(1, (2, 3))), "validation")),
    Fault("preprocessing-mismatch", "served standardised twice", _served(_standardised)),
    Fault("preprocessing-mismatch", "served 0 to 255", _served(lambda case, x: x * 255)),
    Fault("preprocessing-mismatch", "served inverted", _served(lambda case, x: 1 - x)),
)


# Classes


def _rare(keep: Callable[[int], float]) -> Alter:
    """Return what keeps of each class a share."""

    def alter(data: Dataset, rng: torch.Generator) -> Dataset:
        order = torch.randperm(10, generator=rng).tolist()
        kept: list[Tensor] = []
        for place, label in enumerate(order):
            members = (data.y == label).nonzero().flatten()
            kept.append(members[: max(round(len(members) * keep(place)), 0)])
        return data.subset(torch.cat(kept).sort().values)

    return alter


def _class_after_class(setting: Setting) -> Case:
    """Train on one class after the other, as when nothing is shuffled."""
    return _fitted(setting, [partial(_only, label) for label in range(10)])


def _only(label: int, data: Dataset) -> Dataset:
    return data.subset((data.y == label).nonzero().flatten())


def _read_as_zero(setting: Setting) -> Case:
    """Train while nearly all labels were read as 0; the labels were mended afterwards, the model was not."""

    def unread(data: Dataset) -> Dataset:
        rng = torch.Generator().manual_seed(setting.seed)
        y = torch.zeros_like(data.y)
        right = _some(len(y), 0.03, rng)
        y[right] = data.y[right]
        return replace(data, y=y)

    return _fitted(setting, [unread])


def _fitted(setting: Setting, parts: list[Callable[[Dataset], Dataset]]) -> Case:
    train, held = setting.parts()
    model = setting.build(train)
    for part in parts:
        model.fit(part(train), epochs=setting.epochs, batch_size=setting.batch_size, verbose=False)
    return case_of(
        model, train, validation=held, batch_size=setting.batch_size, epochs=setting.epochs,
        begin=lambda: setting.build(train),
    )  # fmt: skip


def _lost_head(model: Model) -> None:
    """Lose the weights of the last layer but for its bias."""
    learned(model)[-1].zero_()


CLASSES = (
    Fault("class-imbalance", "one class has nine of ten", _with(_rare(lambda k: 1.0 if k == 0 else 1 / 80), "train")),
    Fault("class-imbalance", "from 1 to 1/20, evenly", _with(_rare(lambda k: 20 ** (-k / 9)), *BOTH)),
    Fault("class-imbalance", "three classes of a twentieth", _with(_rare(lambda k: 0.05 if k < 3 else 1.0), "train")),
    Fault("class-imbalance", "a class without examples", _with(_rare(lambda k: float(k > 0)), "train")),
    Fault("class-imbalance", "validation without two classes", _with(_rare(lambda k: float(k > 1)), "validation")),
    Fault("collapsed-predictions", "class after class", _class_after_class),
    Fault("collapsed-predictions", "labels read as 0", _read_as_zero),
    Fault("collapsed-predictions", "the last weights lost", damaged(_lost_head)),
)


# Copies across


def _leaked(share: float, change: Callable[[Tensor, torch.Generator], Tensor] = lambda x, rng: x) -> Make:
    """Return what puts training examples, changed a little, in the place of a share of validation examples."""

    def make(setting: Setting) -> Case:
        kept: list[Dataset] = []

        def alter(data: Dataset, part: str) -> Dataset:
            if part == "train":
                kept[:] = [data]
                return data
            rng = torch.Generator().manual_seed(setting.seed)
            into = _some(len(data), share, rng)
            out = torch.randperm(len(kept[0]), generator=rng)[: len(into)]
            into = into[: len(out)]
            x, y = data.x.clone(), data.y.clone()
            x[into], y[into] = _bytes(change(float_images(kept[0].x[out]), rng)), kept[0].y[out]
            return replace(data, x=x, y=y)

        return setting.but(change=alter).train()

    return make


def _bytes(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def _noisy(x: Tensor, rng: torch.Generator) -> Tensor:
    return x + 0.03 * torch.randn(x.shape, generator=rng)


def _moved(x: Tensor, rng: torch.Generator) -> Tensor:
    return F.pad(x, (1, 0, 0, 0), mode="replicate")[..., :-1]


def _larger(x: Tensor, rng: torch.Generator) -> Tensor:
    grid = F.affine_grid(torch.eye(2, 3)[None].expand(len(x), 2, 3) / 1.04, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


LEAKS = (
    Fault("leakage", "all of validation is training", _leaked(1.0)),
    Fault("leakage", "a third of validation", _leaked(1 / 3)),
    Fault("leakage", "3 % of validation", _leaked(0.03)),
    Fault("leakage", "a third, with noise", _leaked(1 / 3, _noisy)),
    Fault("leakage", "a fifth, darker", _leaked(0.2, lambda x, rng: 0.8 * x)),
    Fault("leakage", "a third, moved by a pixel", _leaked(1 / 3, _moved)),
    Fault("leakage", "a third, 4 % larger", _leaked(1 / 3, _larger)),
)

FAULTS: tuple[Fault, ...] = (*LABELS, *INPUTS, *MISMATCHES, *CLASSES, *LEAKS)
